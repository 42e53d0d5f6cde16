"""A hand in space, seen by two cameras of unequal sizes, that moves by a tenth of its command and a little noise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cosmos_sim.data.starts import Starts
from cosmos_sim.types import Prediction, WorldSpec

LIFTED = 0.5


@dataclass(frozen=True)
class HandState:
    position: np.ndarray
    seeds: tuple[int, ...]
    step: int


class HandWorld:
    """A :class:`~cosmos_sim.types.WorldModel` in closed form; ``gain`` turns a command into metres a step."""

    def __init__(self, *, gain: float = 0.1, noise: float = 0.0) -> None:
        self.gain, self.noise = gain, noise
        self.spec = WorldSpec(
            task="raise the hand",
            cameras={"front": (20, 28), "above": (16, 14)},
            action_low=(-1.0,) * 4,
            action_high=(1.0,) * 4,
            state_low=(-2.0,) * 3,
            state_high=(2.0,) * 3,
            fps=10.0,
            horizon=12,
        )
        positions = np.random.default_rng(0).uniform(-0.3, 0.1, (6, 3)).astype(np.float32)
        self.starts = Starts(self.draw(positions), positions, 40 + np.arange(6, dtype=np.int64), (self.spec.task,) * 6)

    def draw(self, position: np.ndarray) -> dict[str, np.ndarray]:
        frames = {}
        for axes, (camera, (height, width)) in zip(((0, 2), (1, 0)), self.spec.cameras.items(), strict=True):
            y, x = np.mgrid[1 : -1 : height * 1j, -1 : 1 : width * 1j]
            across, up = (position[..., axis, None, None] for axis in axes)
            blob = 200 * np.exp(-6 * ((x - across) ** 2 + (y - up) ** 2))
            depth = 40 + 20 * position[..., 1, None, None] + 0 * blob
            frames[camera] = np.stack([blob, depth, 30 + 0 * blob], axis=-1).clip(0, 255).astype(np.uint8)
        return frames

    def reset(self, frames, state: np.ndarray, seeds: Sequence[int]) -> HandState:
        return HandState(np.asarray(state, dtype=np.float64), tuple(seeds), 0)

    def step(self, state: HandState, actions: np.ndarray) -> tuple[HandState, Prediction]:
        path, position = [], state.position
        for k in range(actions.shape[1]):
            draws = [np.random.default_rng((seed, state.step + k)).normal(size=3) for seed in state.seeds]
            position = position + self.gain * actions[:, k, :3] + self.noise * np.stack(draws)
            path.append(position)
        track = np.stack(path, axis=1)
        success = 1 / (1 + np.exp(-40 * (track[..., 2] - LIFTED)))
        prediction = Prediction(self.draw(track), track.astype(np.float32), success.astype(np.float32))
        return HandState(position, state.seeds, state.step + actions.shape[1]), prediction

    def select(self, state: HandState, indices: Sequence[int]) -> HandState:
        rows = list(indices)
        return HandState(state.position[rows], tuple(state.seeds[i] for i in rows), state.step)

    def reconstruct(self, frames):
        return {camera: (images // 8) * 8 + 4 for camera, images in frames.items()}

    def encode(self, frames):
        """Every second pixel of one channel, the cameras side by side, in the rows of the lower camera."""
        parts = [torch.from_numpy(images[..., :16:2, ::2, 0] / np.float32(50)) for images in frames.values()]
        return torch.cat(parts, dim=-1)[:, :, None]


class Riser:
    """Raises the hand with a will and a noise of its own, in chunks of three."""

    loads = 0

    def __init__(self, will: float) -> None:
        self.will = will

    def reset(self, seeds: Sequence[int]) -> None:
        self.generators = [np.random.default_rng((seed, 7)) for seed in seeds]

    def act(self, observation, info) -> np.ndarray:
        actions = np.stack([generator.normal(0, 0.3, (3, 4)) for generator in self.generators])
        actions[..., 2] += self.will
        return np.clip(actions, -1, 1).astype(np.float32)
