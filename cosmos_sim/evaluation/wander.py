"""Aimless motion all around the start: what shows every pose to a reader, and keeps a long imagination busy."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy import ndarray
from tqdm import tqdm

from cosmos_sim.collection.plan import MAX_SEED, SEEDS_PER_COLLECTION, EpisodePlan
from cosmos_sim.types import Observation

FIRST_SEED = (MAX_SEED + 2) * SEEDS_PER_COLLECTION
"""Recorded wandering begins at the twin's seeds from here on, which no collection and no evaluation uses."""

_STEP = 0.04
"""Metres short of a point from which the command is no longer a full one."""


class Wanderer:
    """Visits points in a box around where the hand was first seen; satisfies :class:`cosmos_sim.types.Policy`.

    Every second point lies straight along one axis from the start. Takes the first three numbers of an action as a
    command along x, y and z, the first three of the state as the hand's position in metres, and the last number of an
    action as the gripper, which now and then changes sides; the other numbers stay 0.
    """

    def __init__(self, action_dim: int, *, reach: float = 0.18, patience: int = 16) -> None:
        """``reach`` is half the side of the box, in metres; a point is given up after ``patience`` steps.

        Raises:
            ValueError: for fewer than 4 numbers an action, or a reach or patience that is not positive.
        """
        if action_dim < 4:
            raise ValueError(f"wandering takes x, y, z and a gripper, 4 action values at least; got {action_dim}")
        if reach <= 0 or patience < 1:
            raise ValueError(f"reach and patience must be positive, got {reach} and {patience}")
        self.action_dim, self.reach, self.patience = action_dim, reach, patience
        self._hands: list[_Hand] = []

    def reset(self, seeds: Sequence[int]) -> None:
        self._hands = [_Hand(np.random.default_rng(int(seed)), self.reach, self.patience) for seed in seeds]

    def act(self, observation: Observation, info: Mapping[str, Any]) -> Float32[ndarray, "b 1 a"]:
        """One action an environment, from its ``agent_pos`` alone."""
        actions = np.zeros((len(self._hands), 1, self.action_dim), dtype=np.float32)
        for row, hand, state in zip(actions, self._hands, observation["agent_pos"], strict=True):
            row[0, :3], row[0, -1] = hand.command(np.asarray(state[:3], dtype=np.float64))
        return actions


class _Hand:
    def __init__(self, generator: np.random.Generator, reach: float, patience: int) -> None:
        self.generator, self.reach, self.patience = generator, reach, patience
        self.start: ndarray | None = None
        self.left = 0
        self.straight = bool(generator.integers(2))

    def command(self, position: ndarray) -> tuple[ndarray, float]:
        if self.start is None:
            self.start = position
        if self.left == 0 or np.linalg.norm(self.point - position) < _STEP / 3:
            self._choose(self.start)
        self.left -= 1
        motion = (self.point - position) / _STEP
        return motion * min(1.0, self.pace / max(float(np.abs(motion).max()), 1e-9)), self.grip

    def _choose(self, start: ndarray) -> None:
        offset = self.generator.uniform(-self.reach, self.reach, 3)
        if self.straight:
            offset *= np.arange(3) == self.generator.integers(3)
        self.straight = not self.straight
        self.point = start + offset
        self.pace = self.generator.uniform(0.3, 1.0)
        self.grip = -1.0 if self.generator.random() < 0.75 else 1.0
        self.left = self.patience


def record_wandering(task: str, episodes: int, out: Path, *, length: int = 60) -> Path:
    """Record ``episodes`` of wandering in the simulator's ``task`` as the LeRobot dataset ``out``, unless it is there.

    Raises:
        ValueError: for an unknown task, fewer than one episode, or a dataset of other episodes at ``out``.
    """
    from cosmos_sim.collection.record import record
    from cosmos_sim.data.lerobot import dataset_info, write_dataset
    from cosmos_sim.envs.twin.env import CosmosTwin

    if episodes < 1:
        raise ValueError(f"wandering needs at least one episode, got {episodes}")
    if out.is_dir():
        found = dataset_info(out).episodes
        if found != episodes:
            raise ValueError(f"{out} holds {found} episodes of wandering, {episodes} are asked for")
        return out
    twin = CosmosTwin(task, horizon=length, terminate_on_success=False)
    try:
        policy = Wanderer(int(np.prod(twin.action_space.shape or ())))
        plans = (EpisodePlan(index, "wander", FIRST_SEED + index) for index in range(episodes))
        recorded = (record(twin, policy, plan, length=length) for plan in plans)
        return write_dataset(tqdm(recorded, "wandering", episodes, unit="episode"), out)
    finally:
        twin.close()
