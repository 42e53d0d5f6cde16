"""Jobs done on the machines of a Ray cluster (``pip install ray``), each process with its share of a GPU."""

import importlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cosmos_sim.data.runners import Failure, Opener, Worker


@dataclass(frozen=True)
class RayRunner:
    """Does jobs in ``workers`` processes of a Ray cluster.

    Datasets and networks must be found under the same name on every machine: on a shared disk, or on the hub. What
    is made comes back to this process, which alone writes. A job whose machine is lost is done again elsewhere.
    """

    workers: int
    device: str
    address: str | None = None
    """Of the cluster, as ``ray.init`` takes it; one of this machine's own if ``None`` and none is around."""
    cpus: float = 1.0
    """Processors that each process is given."""

    def __call__[J, R](self, opener: Opener[J, R], jobs: Sequence[J]) -> Generator[tuple[J, R | Failure]]:
        ray = import_ray()
        started = not ray.is_initialized()
        if started:
            ray.init(address=self.address, log_to_driver=False, include_dashboard=False)
        gpus = 1.0 if self.device.startswith("cuda") else 0.0
        remote = ray.remote(num_gpus=gpus, num_cpus=self.cpus, max_restarts=3, max_task_retries=3)(Worker)
        workers = [remote.remote(opener, self.device) for _ in range(min(self.workers, len(jobs)))]
        try:
            yield from _spread(ray, workers, list(jobs))
        except ray.exceptions.RayError as error:
            raise OSError(f"Ray could not go on ({str(error).splitlines()[0]})") from error
        finally:
            for worker in workers:
                ray.kill(worker)
            if started:
                ray.shutdown()


def import_ray() -> Any:
    """Ray; :class:`ValueError` with the command that installs it, where it is missing."""
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise ValueError("this needs Ray, which is not installed: pip install 'cosmos-sim[ray]'") from None


def _spread[J](ray: Any, workers: list[Any], jobs: list[J]) -> Iterator[tuple[J, Any]]:
    """Give every worker a job, and another whenever it is done with one."""
    busy: dict[Any, tuple[Any, J]] = {}
    waiting, idle = jobs[::-1], list(workers)
    while waiting or busy:
        while waiting and idle:
            worker, job = idle.pop(), waiting.pop()
            busy[worker.do.remote(job)] = (worker, job)
        (done, *_), _ = ray.wait(list(busy), num_returns=1)
        worker, job = busy.pop(done)
        idle.append(worker)
        yield job, ray.get(done)
