"""From noise to data along the learned flow: where to evaluate the velocity, and how to integrate it.

A schedule is a falling list of times (the noise levels sigma, noise at 1, data at 0) that ends with 0; the velocity is
evaluated at all but the last. A solver takes a velocity, the noise and such a list, and returns the data. Both are
deterministic: all that is random is the noise.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor

from cosmos_sim.world_model.flow import shift_time

Velocity = Callable[[Tensor, float], Tensor]
"""dx/dt at a point and a time."""

Solver = Callable[[Velocity, Tensor, Sequence[float]], Tensor]
"""``solver(velocity, noise, times)``: the end of the path that begins at ``noise`` at ``times[0]``."""


def euler_times(steps: int, *, shift: float = 1.0) -> list[float]:
    """``steps + 1`` times from 1 to 0, evenly spaced before the shift.

    Raises:
        ValueError: ``steps`` is below 1.
    """
    _check(steps)
    return shift_time(torch.linspace(1, 0, steps + 1, dtype=torch.float64), shift).tolist()


def linear_times(steps: int, *, shift: float = 5.0) -> list[float]:
    """Cosmos-Predict2.5's linear schedule: ``steps`` times evenly spaced from 0.999 before the shift, then 0.

    Raises:
        ValueError: ``steps`` is below 1.
    """
    _check(steps)
    return shift_time(torch.linspace(0.999, 0, steps + 1, dtype=torch.float64), shift).tolist()


def karras_times(steps: int, *, highest: float = 200.0, lowest: float = 0.01, rho: float = 7.0) -> list[float]:
    """Cosmos-Predict2.5's Karras schedule: ``steps + 1`` times, then 0.

    ``s_i = (highest^(1/rho) + i/steps (lowest^(1/rho) - highest^(1/rho)))^rho`` for i = 0..steps (Karras et al., arXiv
    2206.00364, equation 5), as the ratio of noise to data: the time is ``s / (1 + s)``. One evaluation more than
    ``steps``, as in the original.

    Raises:
        ValueError: ``steps`` is below 1.
    """
    _check(steps)
    low, high = lowest ** (1 / rho), highest ** (1 / rho)
    ratio = (high + torch.linspace(0, 1, steps + 1, dtype=torch.float64) * (low - high)) ** rho
    return [*(ratio / (1 + ratio)).tolist(), 0.0]


def euler(velocity: Velocity, noise: Tensor, times: Sequence[float]) -> Tensor:
    """Integrate dx/dt = velocity(x, t) from ``times[0]`` to ``times[-1]`` with Euler's rule."""
    x = noise
    for time, after in pairwise(times):
        x = x + (after - time) * velocity(x, time)
    return x


def heun(velocity: Velocity, noise: Tensor, times: Sequence[float]) -> Tensor:
    """Heun's rule (second order, two evaluations a step), with Euler's for a last step to 0.

    Karras et al. (arXiv 2206.00364), algorithm 1: at 0 the network would be given data without any noise, which it has
    not met in training.
    """
    x = noise
    for time, after in pairwise(times):
        slope = velocity(x, time)
        if after > 0:
            slope = (slope + velocity(x + (after - time) * slope, after)) / 2
        x = x + (after - time) * slope
    return x


def unipc(velocity: Velocity, noise: Tensor, times: Sequence[float]) -> Tensor:
    """UniPC (Zhao et al., arXiv 2302.04867) as Cosmos-Predict2.5 uses it: order 2, B2(h), on the predicted data.

    With the corrector, and of order 1 in the first and the last step. One evaluation a step.
    """
    scheduler = UniPCMultistepScheduler(solver_order=2, prediction_type="flow_prediction", use_flow_sigmas=True)
    scheduler.set_timesteps(sigmas=np.array(times[:-1], dtype=np.float64))
    scheduler.sigmas[-1] = times[-1]
    scheduler.set_begin_index(0)
    x = noise
    for step, time in zip(scheduler.timesteps, times[:-1], strict=True):
        x = scheduler.step(velocity(x, time), step, x, return_dict=False)[0]
    return x


SOLVERS: Mapping[str, Solver] = {"unipc": unipc, "heun": heun, "euler": euler}


def named[T](table: Mapping[str, T], name: str, kind: str) -> T:
    """The entry of that name.

    Raises:
        ValueError: there is none; the message suggests the nearest.
    """
    if name not in table:
        near = difflib.get_close_matches(name, table, n=1)
        raise ValueError(
            f"unknown {kind} {name!r}: " + (f"did you mean {near[0]!r}?" if near else f"one of {[*table]}")
        )
    return table[name]


def evaluations(solver: str, times: Sequence[float]) -> int:
    """How often a solver asks for the velocity on a schedule."""
    steps = len(times) - 1
    return 2 * steps - (times[-1] <= 0) if solver == "heun" else steps


def seeded_noise(shape: Sequence[int], seed: int | Sequence[int]) -> Tensor:
    """Standard normal fp32 numbers, the original's for one ``seed``, on any machine: NumPy's ``RandomState``.

    Raises:
        ValueError: a seed outside 0 .. 2^32 - 1.
    """
    seeds = [seed] if isinstance(seed, int) else list(seed)
    if any(not 0 <= s < 2**32 for s in seeds):
        raise ValueError(f"a seed must lie in 0 .. 2^32 - 1, got {seed}")
    drawn = np.random.RandomState(seed if isinstance(seed, int) else seeds).standard_normal(tuple(shape))
    return torch.from_numpy(drawn.astype(np.float32))


def _check(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"sampling needs at least 1 step, not {steps}")
