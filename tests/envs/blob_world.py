"""A world with closed-form dynamics: a point mass, seen from above and from the side as a blob."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cosmos_sim.data.starts import Starts
from cosmos_sim.types import Frames, Prediction, WorldSpec

GOAL = np.array([0.8, 0.5, 0.2])


@dataclass(frozen=True)
class BlobState:
    position: np.ndarray
    seeds: tuple[int, ...]
    steps: tuple[int, ...]


class BlobWorld:
    """``position += 0.1 * action + noise(seed, step)``; the third axis is the brightness of both cameras."""

    def __init__(self, *, starts: int | None = 5, noise: float = 0.02, **changes: Any) -> None:
        self.noise = noise
        self.batches: list[int] = []
        self.spec = replace(
            WorldSpec(
                task="push the blob",
                cameras={"top": (24, 32), "side": (16, 20)},
                action_low=(-2.0, -0.5, 0.0),
                action_high=(1.0, 0.5, 3.0),
                state_low=(-1.0, -1.0, 0.0),
                state_high=(1.0, 1.0, 1.0),
                fps=8.0,
                horizon=12,
            ),
            **changes,
        )
        if starts:
            positions = np.random.default_rng(0).uniform(-0.5, 0.5, (starts, 3)).astype(np.float32)
            positions[:, 2] = np.abs(positions[:, 2])
            seeds = 100 + 10 * np.arange(starts)
            self.starts = Starts(self.draw(positions), positions, seeds, tasks=(self.spec.task,) * starts)

    def draw(self, position: np.ndarray) -> Mapping[str, np.ndarray]:
        """One frame a camera, ``h w 3``, for every position of the leading axes."""
        frames = {}
        for i, (camera, (height, width)) in enumerate(self.spec.cameras.items()):
            y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
            across, down, bright = (position[..., k, None, None] for k in ((0, 1, 2), (1, 0, 2))[i % 2])
            blob = (0.3 + 0.7 * bright) * np.exp(-8 * ((x - across) ** 2 + (y - down) ** 2))
            frames[camera] = np.stack([255 * blob, 64 + 100 * blob, 30 + 0 * blob], axis=-1).clip(0, 255)
        return {camera: images.astype(np.uint8) for camera, images in frames.items()}

    def reset(self, frames: Frames, state: np.ndarray, seeds: Sequence[int]) -> BlobState:
        for camera, size in self.spec.cameras.items():
            assert frames[camera].shape == (len(seeds), *size, 3)
        return BlobState(state.astype(np.float64), tuple(seeds), (0,) * len(seeds))

    def step(self, state: BlobState, actions: np.ndarray) -> tuple[BlobState, Prediction]:
        self.batches.append(len(actions))
        assert actions.shape[0] == len(state.seeds)
        assert actions.shape[2] == 3
        path, position = [], state.position
        for k in range(actions.shape[1]):
            draws = zip(state.seeds, state.steps, strict=True)
            noise = np.stack([np.random.default_rng((seed, step + k)).normal(size=3) for seed, step in draws])
            position = position + 0.1 * actions[:, k] + self.noise * noise
            path.append(position)
        track = np.stack(path, axis=1)
        near = np.linalg.norm(track - GOAL, axis=-1)
        success = (1 / (1 + np.exp(20 * (near - 0.3)))).astype(np.float32)
        prediction = Prediction(self.draw(track), track.astype(np.float32), success if self.spec.has_success else None)
        return BlobState(position, state.seeds, tuple(n + actions.shape[1] for n in state.steps)), prediction

    def select(self, state: BlobState, indices: Sequence[int]) -> BlobState:
        rows = list(indices)
        return BlobState(state.position[rows], tuple(state.seeds[i] for i in rows), tuple(state.steps[i] for i in rows))


class JoiningBlobWorld(BlobWorld):
    """The same, able to put several batches into one."""

    def join(self, states: Sequence[BlobState]) -> BlobState:
        return BlobState(
            np.concatenate([state.position for state in states]),
            sum((state.seeds for state in states), ()),
            sum((state.steps for state in states), ()),
        )


class ChunkBlobWorld(JoiningBlobWorld):
    """The same, for those who take a fixed number of actions at once; ``calls`` lists what that costs, in actions."""

    def __init__(self, chunk: int, **changes: Any) -> None:
        super().__init__(chunk=chunk, **changes)
        self.calls: list[int] = []

    def step(self, state: BlobState, actions: np.ndarray) -> tuple[BlobState, Prediction]:
        self.calls += [self.spec.chunk] * -(-actions.shape[1] // self.spec.chunk)
        return super().step(state, actions)


def towards_goal(agent_pos: np.ndarray, world: BlobWorld) -> np.ndarray:
    """The action that brings the blob nearer the goal, within its bounds."""
    return np.clip(10 * (GOAL - agent_pos), world.spec.action_low, world.spec.action_high).astype(np.float32)
