"""A block on a table that goes where it is told, for dreams that take no network: who imagines, who reads, a world.

A file of its own, so that processes that are started anew find it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from cosmos_sim.synthesis.dreaming import ActionRange, Dreaming
from cosmos_sim.synthesis.imagining import Imagined
from cosmos_sim.synthesis.opening import Work
from cosmos_sim.synthesis.plan import DreamConfig
from cosmos_sim.synthesis.starts import Start, Starts
from cosmos_sim.types import Episode, Prediction, WorldSpec
from cosmos_sim.world_model.inverse_dynamics import ActionReading

SIZES = {"above": (24, 40), "side": (24, 40)}
WAYS = {"push left": (-1, 0), "push right": (1, 0), "push away": (0, -1)}
USUAL = ActionRange(*(np.array(v, np.float32) for v in ((-3, -3, -1), (3, 3, 1), (1, 1, 1))))
LENGTH = 8


def seen(places: Sequence[ndarray]) -> dict[str, ndarray]:
    """Frames of both cameras with the block at ``places``, x and y in 0 to 32 by 0 to 16."""
    videos = {camera: np.full((len(places), *size, 3), 80, np.uint8) for camera, size in SIZES.items()}
    for k, place in enumerate(places):
        x, y = np.round(place).astype(int)
        videos["above"][k, y + 2 : y + 7, x + 2 : x + 7] = (220, 40, 40)
        videos["side"][k, 6:12, max(0, x - 2) : x + 3] = (220, 40, 40)
    return videos


def found(frames: ndarray) -> ndarray:
    """Where the block is in frames of the camera above."""
    rows = []
    for image in frames:
        ys, xs = np.nonzero(image[..., 0].astype(int) - image[..., 1] > 90)
        rows.append([xs.mean() - 4, ys.mean() - 4] if len(xs) else [np.nan, np.nan])
    return np.array(rows)


def real(index: int, *, steps: int = 12) -> Episode:
    rng = np.random.default_rng(index)
    task = list(WAYS)[index % len(WAYS)]
    places, actions = [np.array([14.0, 8.0]) + rng.integers(-2, 3, 2)], []
    for _ in range(steps):
        move = np.clip(np.array(WAYS[task]) * rng.integers(0, 2) + 0.0, -3, 3)
        places.append(np.clip(places[-1] + move, 0, [30, 15]))
        actions.append([*(places[-1] - places[-2]), 1.0])
    success = np.arange(steps) >= steps - 2
    return Episode(
        seen(places[:-1]),
        np.array(places[:-1], np.float32),
        np.array(actions, np.float32),
        task,
        success=success,
        reward=success.astype(np.float32),
        fps=10.0,
    )


class Painter:
    """Imagines the block going the way that the prompt says, or with a fault of the same name."""

    cameras: tuple[str, ...] | None = ("above", "side")

    def __init__(self, fault: str = "", *, pause: float = 0.0) -> None:
        self.fault, self.pause = fault, pause

    def imagine(self, start: Start, instruction: str, *, frames: int, seed: int) -> Imagined:
        time.sleep(self.pause)
        rng = np.random.default_rng(seed)
        if self.fault == "nan":
            raise FloatingPointError("NaN in chunk 1 of 1")
        place = found(start.frames["above"][None])[0]
        jump = int(rng.integers(2, frames - 1))
        places = [place]
        for k in range(frames - 1):
            step = np.array(WAYS[instruction]) * (1 if self.fault == "same" else rng.integers(0, 2))
            if self.fault == "jumps" and k == jump:
                step = np.array([9, 4])
            if self.fault == "still":
                step = np.zeros(2)
            places.append(np.clip(places[-1] + step, 0, [30, 15]))
        made = seen(places)
        return Imagined(
            {camera: np.concatenate([image[None], made[camera][1:]]) for camera, image in start.frames.items()}
        )

    def reconstructed(self, videos: Mapping[str, ndarray]) -> Mapping[str, ndarray]:
        return videos


class Tracker:
    """Reads the block's motion off the camera above; its deviation is how far that is out of the usual range."""

    cameras = ("above",)
    binary = np.array([False, False, True])

    def read(
        self, frames: Mapping[str, ndarray], state: ndarray | None = None, *, samples: int = 8, seed: int = 0
    ) -> ActionReading:
        steps = np.diff(found(frames["above"]), axis=0)
        action = np.concatenate([np.clip(steps, -3, 3), np.ones((len(steps), 1))], axis=1).astype(np.float32)
        deviation = np.concatenate([0.01 + np.maximum(np.abs(steps) - 3, 0) / 6, np.zeros((len(steps), 1))], axis=1)
        return ActionReading(action, deviation.astype(np.float32))


class BlockWorld:
    """Moves the block as actions say, and holds that it succeeded once it has gone far enough."""

    spec = WorldSpec(
        task="push",
        cameras=dict(SIZES),
        action_low=(-3.0, -3.0, -1.0),
        action_high=(3.0, 3.0, 1.0),
        state_low=(0.0, 0.0),
        state_high=(32.0, 16.0),
        fps=10.0,
        horizon=50,
    )

    def reset(self, frames: Mapping[str, ndarray], state: ndarray, seeds: Sequence[int]) -> ndarray:
        return np.array(state, float)

    def step(self, state: ndarray, actions: ndarray) -> tuple[ndarray, Prediction]:
        places = np.clip(state[:, None] + np.cumsum(actions[..., :2], axis=1), 0, [30, 15])
        videos = [seen(list(path)) for path in places]
        frames = {camera: np.stack([video[camera] for video in videos]) for camera in SIZES}
        gone = np.abs(places - state[:, None]).sum(axis=2)
        return places[:, -1], Prediction(frames, places.astype(np.float32), (gone > 2).astype(np.float32))

    def select(self, state: ndarray, indices: Sequence[int]) -> ndarray:
        return state[list(indices)]


@dataclass(frozen=True)
class PushingOpener:
    """What makes dreams of the toy, in any process."""

    config: DreamConfig
    fault: str = ""
    pause: float = 0.0

    def dreaming(self) -> Dreaming:
        return Dreaming(
            self.config,
            Painter(self.fault, pause=self.pause),
            Tracker(),
            usual=USUAL,
            starts=Starts(self.config),
            world=BlockWorld(),
        )

    def __call__(self, device: str) -> Work:
        return Work(self.dreaming())
