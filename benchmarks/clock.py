"""The clock of the benchmarks."""

import time

import torch


def now(device: torch.device) -> float:
    """Seconds, with nothing under way on the device.

    With one thread on a CPU they are those in which this process computed, so that other programs do not count.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.process_time() if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter()
