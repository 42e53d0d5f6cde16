"""Who does a command's long jobs."""

from cosmos_sim.data.ray_runner import RayRunner, import_ray
from cosmos_sim.data.runners import Here, Processes, Runner, devices_for
from cosmos_sim.training.device import select_device


def find_runner(workers: int | None, ray: str | None, device: str) -> tuple[Runner, str]:
    """The processes that ``workers``, ``ray`` and ``device`` ask for, and the first device.

    Raises:
        ValueError: no workers, an unknown device, or Ray is missing.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    place = "cuda" if device == "auto" and select_device(device).type == "cuda" else str(select_device(device))
    devices = devices_for(place)
    count = len(devices) if workers is None else workers
    if ray is not None:
        import_ray()
        return RayRunner(count, place, address=ray), devices[0]
    return (Here(devices[0]) if count == 1 else Processes(count, devices)), devices[0]
