"""Actions carried out in the simulator from the start of an episode, without a picture being drawn."""

import functools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from cosmos_sim.envs.twin.simulation import Simulation, start_of
from cosmos_sim.envs.twin.tasks import find_task


@dataclass(frozen=True, eq=False)
class Replay:
    """What came of actions."""

    success: bool
    """Whether the task was solved after any of them."""
    state: Float32[ndarray, "t+1 7"]
    """Proprioception at the start and after each action, as the twin's ``agent_pos``."""


def replay(
    task: str,
    seed: int,
    actions: Float32[ndarray, "t 7"],
    *,
    instruction: str | None = None,
    split: str | None = None,
) -> Replay:
    """Carry out all of ``actions`` from where ``CosmosTwin(task).reset(seed=seed)`` begins.

    They are cut to the range of the twin's actions. ``instruction`` and ``split`` are for the task ``Tabletop``, as
    :class:`cosmos_sim.envs.twin.env.CosmosTwin` takes them. A process keeps each task's simulation for the next call.

    Raises:
        ValueError: for an unknown task, actions of another shape or that are not finite, and what the task is not told.
    """
    if np.ndim(actions) != 2 or np.shape(actions)[1] != 7 or not np.isfinite(actions).all():
        raise ValueError(f"actions must be (t, 7) and finite, got {np.asarray(actions).shape}")
    simulation = _simulation(find_task(task).name)
    simulation.reset(start_of(seed), instruction=instruction, split=split)
    states, success = [simulation.proprioception], False
    for action in np.clip(np.asarray(actions, np.float32), -1, 1):
        simulation.step(action.astype(np.float64))
        states.append(simulation.proprioception)
        success = success or simulation.success
    return Replay(success, np.stack(states))


@functools.cache
def _simulation(task: str) -> Simulation:
    return Simulation(find_task(task))
