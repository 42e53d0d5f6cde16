"""Environments that wait at the end of their episodes, for rollouts in which all begin together."""

import multiprocessing
import os
import signal
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from jaxtyping import Float32
from numpy import ndarray

from cosmos_sim.envs.world_vector import CosmosWorldVector, Step


class HoldAtEnd(gym.Wrapper):
    """Holds the last transition of an ended episode, with reward 0, until the next reset.

    An ``AsyncVectorEnv`` with autoreset disabled keeps stepping environments that have ended; with this wrapper that
    costs nothing and raises nothing while the others of the batch go on.
    """

    def __init__(self, env: gym.Env):
        super().__init__(env)
        self._last: tuple[Any, Any, bool, bool, dict[str, Any]] | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._last = None
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        if self._last is not None:
            return self._last
        observation, reward, terminated, truncated, info = self.env.step(action)
        if terminated or truncated:
            self._last = observation, 0.0, terminated, truncated, info
        return observation, reward, terminated, truncated, info


class HeldWorlds(CosmosWorldVector):
    """Learned worlds as one batch, in which those that have ended keep their last observation and cost nothing more.

    All are reset together. The arguments are those of :class:`~cosmos_sim.envs.world_vector.CosmosWorldVector`.
    """

    def __init__(self, num_envs: int, world: Any, **arguments: Any) -> None:
        super().__init__(num_envs, world, autoreset_mode=AutoresetMode.DISABLED, **arguments)

    def _advance(self, actions: Float32[ndarray, "n t a"]) -> Step:
        before = self._begun()
        running = np.flatnonzero(~before.ended).tolist()
        after = self._imagination.advance(before, actions[running], running)
        self._moment = after
        return (
            self._imagination.observation(after),
            (after.terminated & ~before.ended).astype(np.float64),
            after.terminated.copy(),
            after.truncated.copy(),
            self._infos(after, range(self.num_envs)),
        )


def held_twins(num_envs: int, task: str, *, horizon: int | None = None, split: str | None = None) -> AsyncVectorEnv:
    """Simulators of ``task``, each in a process of its own, that wait at the end of their episodes.

    The processes are started afresh, since forked ones would inherit locks and graphics contexts that they cannot use.
    They leave Ctrl-C to the caller, whose ``close(terminate=True)`` ends them, as the end of its own process does.
    """

    def make() -> gym.Env:
        from cosmos_sim.envs.twin.env import CosmosTwin

        if multiprocessing.parent_process() is not None:  # the vector environment makes one here too, to ask its spaces
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        return HoldAtEnd(CosmosTwin(task, horizon=horizon, split=split))

    os.environ.setdefault("MUJOCO_GL", "egl")
    return AsyncVectorEnv([make] * num_envs, context="spawn", autoreset_mode=AutoresetMode.DISABLED)
