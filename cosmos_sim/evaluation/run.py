"""One policy on one side: what is not in the store yet is run, and stored episode by episode."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from gymnasium.vector import AsyncVectorEnv, VectorEnv
from jaxtyping import Float32
from numpy import ndarray

from cosmos_sim.envs.rollout import Progress, rollouts
from cosmos_sim.evaluation.outcome import Outcome, OutcomeStore
from cosmos_sim.types import Observation, Policy


@dataclass(frozen=True)
class Contender:
    """A policy that is to be judged."""

    name: str
    load: Callable[[], Policy]
    identity: Mapping[str, Any]
    """What it is, by content and JSON-able: results are kept under it."""


@dataclass(frozen=True)
class Side:
    """A place to run policies in: a learned world, or the truth."""

    name: str
    identity: Mapping[str, Any]
    """What it is, by content and JSON-able, with all that changes its episodes: horizon, device, sampling steps."""
    fps: float
    width: int
    """Episodes at once, at most."""
    make: Callable[[int], VectorEnv]
    """That many environments."""
    options: Callable[[Sequence[int]], Mapping[str, Any]] | None = None
    """From the seeds of a batch, the options of its reset."""
    processes: bool = False
    """Whether environments run in processes of their own, which want the cores that a policy would spread over."""


class BoundedPolicy:
    """``policy`` with every action brought within ``space``, as a robot's controller does with what it is told.

    LeRobot's policies undo a normalisation last and may leave the space by a little. Numbers that are not finite are
    left as they are, for the environment to refuse.
    """

    def __init__(self, policy: Policy, space: Box) -> None:
        self.policy = policy
        actions = space.shape[-1]  # a world of chunks has a row of bounds for each action of a chunk, all alike
        self.low, self.high = space.low.reshape(-1, actions)[0], space.high.reshape(-1, actions)[0]

    def reset(self, seeds: Sequence[int]) -> None:
        self.policy.reset(seeds)

    def act(self, observation: Observation, info: Mapping[str, Any]) -> Float32[ndarray, "b t a"]:
        return np.clip(self.policy.act(observation, info), self.low, self.high)


class Arena:
    """Runs contenders on one side, with environments that are made when first needed and shared by all contenders.

    Use as a context manager: leaving it, also by Ctrl-C, closes the environments.
    """

    def __init__(self, side: Side, store: OutcomeStore) -> None:
        self.side = side
        self.store = store
        self._env: VectorEnv | None = None
        self._threads = 0

    def __enter__(self) -> "Arena":
        self._threads = torch.get_num_threads()
        if self.side.processes:
            torch.set_num_threads(1)
        return self

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._threads)
        if self._env is not None:
            # Waiting for workers in the middle of a step would hold up a Ctrl-C.
            arguments = {"terminate": True} if isinstance(self._env, AsyncVectorEnv) else {}
            with suppress(EOFError, BrokenPipeError), warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                self._env.close(**arguments)

    def run(
        self, contender: Contender, seeds: Sequence[int], *, progress: Callable[[Progress], None] | None = None
    ) -> list[Outcome]:
        """One outcome a seed, in order. Those that the store holds are not run again.

        ``progress`` is told of the episodes that are run now, and once with nothing to do where there are none.
        """
        run = {"policy": dict(contender.identity), "side": dict(self.side.identity)}
        found: dict[int, Outcome | None] = {seed: self.store.load(run, seed) for seed in seeds}
        missing = [seed for seed, outcome in found.items() if outcome is None]
        latest = Progress(0, len(missing), 0, 0.0, 0.0)

        def remember(now: Progress) -> None:
            nonlocal latest
            latest = now
            if progress is not None:
                progress(now)

        remember(latest)
        if missing:
            env = self._environments(len(seeds))
            before = latest
            share = (0.0, 0.0)
            policy: Policy = contender.load()
            if isinstance(env.single_action_space, Box):
                policy = BoundedPolicy(policy, env.single_action_space)
            episodes = rollouts(policy, env, missing, progress=remember, options=self.side.options)
            for index, rollout in enumerate(episodes):
                if index % env.num_envs == 0:
                    count = min(env.num_envs, len(missing) - index)
                    share = (
                        (latest.env_seconds - before.env_seconds) / count,
                        (latest.policy_seconds - before.policy_seconds) / count,
                    )
                    before = latest
                outcome = Outcome.of(rollout, fps=self.side.fps, env_seconds=share[0], policy_seconds=share[1])
                self.store.save(run, outcome)
                found[rollout.seed] = outcome
        return [kept for seed in seeds if (kept := found[seed]) is not None]

    def _environments(self, wanted: int) -> VectorEnv:
        """The shared environments, as many as ``wanted`` where the side is wide enough."""
        if self._env is None:
            self._env = self.side.make(min(self.side.width, wanted))
        return self._env
