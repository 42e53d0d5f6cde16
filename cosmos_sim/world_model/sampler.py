"""From noise to data along the learned flow."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from cosmos_sim.world_model.flow import shift_time


def euler_times(steps: int, *, shift: float = 1.0) -> list[float]:
    """``steps + 1`` times from 1 to 0, evenly spaced before the shift.

    Raises:
        ValueError: ``steps`` is below 1.
    """
    if steps < 1:
        raise ValueError(f"sampling needs at least 1 step, not {steps}")
    return shift_time(torch.linspace(1, 0, steps + 1, dtype=torch.float64), shift).tolist()


def euler(velocity: Callable[[Tensor, float], Tensor], noise: Tensor, times: list[float]) -> Tensor:
    """Integrate dx/dt = velocity(x, t) from ``times[0]`` to ``times[-1]`` with Euler's rule."""
    x = noise
    for time, after in pairwise(times):
        x = x + (after - time) * velocity(x, time)
    return x
