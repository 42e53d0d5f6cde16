"""Who does long jobs: this process, several on this machine, or Ray's on many (``ray_runner``)."""

import multiprocessing
import os
import traceback
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from queue import Empty
from typing import Any, Protocol

import torch
from tqdm import tqdm

from cosmos_sim.data.processes import serve_parent

type Work[J, R] = Callable[[J], R]

type Opener[J, R] = Callable[[str], Work[J, R]]
"""Makes what does the work on a device; it must be picklable, as a function of a module or a ``partial`` of one is."""


@dataclass(frozen=True)
class Failure:
    """A job that could not be done, and why."""

    reason: str
    trace: str
    final: bool = False
    """Whether no other job can be done either: what does the work could not be opened."""


class Named(Protocol):
    """A job that can be told of."""

    @property
    def name(self) -> str:
        """Where what comes of it is kept."""

    @property
    def title(self) -> str:
        """What a person knows it by."""


class Runner(Protocol):
    """Does jobs, in whatever order they come; closing it early stops what is under way."""

    def __call__[J, R](self, opener: Opener[J, R], jobs: Sequence[J]) -> Generator[tuple[J, R | Failure]]: ...


@dataclass(frozen=True)
class Here:
    """Does one job after another in this process."""

    device: str

    def __call__[J, R](self, opener: Opener[J, R], jobs: Sequence[J]) -> Generator[tuple[J, R | Failure]]:
        worker = Worker(opener, self.device)
        for job in jobs:
            yield job, worker.do(job)


@dataclass(frozen=True)
class Processes:
    """Does jobs in ``workers`` processes of this machine, each on the next of its ``devices``."""

    workers: int
    devices: tuple[str, ...]

    def __call__[J, R](self, opener: Opener[J, R], jobs: Sequence[J]) -> Generator[tuple[J, R | Failure]]:
        others = multiprocessing.active_children()
        context = multiprocessing.get_context("spawn")
        count = min(self.workers, len(jobs))
        places = context.Queue()
        for k in range(count):
            places.put(self.devices[k % len(self.devices)])
        threads = max(1, (os.cpu_count() or 1) // count)
        pool = ProcessPoolExecutor(
            max_workers=count, mp_context=context, initializer=_start, initargs=(opener, places, threads)
        )
        try:
            futures = {pool.submit(_do, job): job for job in jobs}
            for future in as_completed(futures):
                yield futures.pop(future), future.result()
        except BrokenProcessPool as error:
            raise OSError("a working process died") from error
        except (GeneratorExit, KeyboardInterrupt):
            for process in multiprocessing.active_children():
                if process not in others:
                    process.terminate()  # what is under way may take many minutes
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class Worker[J, R]:
    """Opens what does the work when the first job comes, and turns faults of single jobs into :class:`Failure`."""

    def __init__(self, opener: Opener[J, R], device: str) -> None:
        self._opener, self._device = opener, device
        self._work: Work[J, R] | None = None

    def do(self, job: J) -> R | Failure:
        try:
            if self._work is None:
                self._work = self._opener(self._device)
        except Exception as error:
            return _failure(error, final=True)
        try:
            return self._work(job)
        except Exception as error:  # whatever is wrong with one job, the others are done
            return _failure(error)


def carry_out[J: Named, R](
    jobs: Sequence[J], opener: Opener[J, R], runner: Runner, keep: Callable[[J, R], None], bar: tqdm
) -> dict[str, str]:
    """Do ``jobs`` and ``keep`` what comes of each; returns the names of those that could not be done, and why.

    Raises:
        ValueError: what does the work could not be opened.
        OSError: a process died.
    """
    failed: dict[str, str] = {}
    if not jobs:
        return failed
    with closing(runner(opener, jobs)) as outcomes:
        for job, outcome in outcomes:
            bar.update()
            if not isinstance(outcome, Failure):
                keep(job, outcome)
            elif outcome.final:
                raise ValueError(outcome.reason)
            else:
                bar.write(f"{job.title} could not be made: {outcome.reason}")
                failed[job.name] = outcome.reason
    return failed


def devices_for(device: str) -> tuple[str, ...]:
    """The devices that ``device`` stands for: every GPU of the machine for ``cuda``."""
    return tuple(f"cuda:{k}" for k in range(torch.cuda.device_count())) if device == "cuda" else (device,)


def _failure(error: Exception, *, final: bool = False) -> Failure:
    known = isinstance(error, ValueError | FloatingPointError | OSError)
    reason = " ".join(str(error).split()) if known else f"{type(error).__name__}: {error}"
    return Failure(reason, traceback.format_exc(), final)


_worker: Worker[Any, Any] | None = None


def _start(opener: Opener[Any, Any], places: Any, threads: int) -> None:
    global _worker
    serve_parent()
    torch.set_num_threads(threads)
    try:
        device = places.get(timeout=60)
    except Empty:
        device = "cpu"
    _worker = Worker(opener, device)


def _do(job: Any) -> Any:
    assert _worker is not None
    return _worker.do(job)
