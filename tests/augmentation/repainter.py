"""A translator that paints its control video in other colours, and one for each way in which a generator can fail.

A file of its own, so that processes that are started anew find it.
"""

import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any
from zlib import crc32

import numpy as np
from moving_scene import SIZES, DarkRobot
from numpy import ndarray

from cosmos_sim.augmentation.limits import Limits
from cosmos_sim.augmentation.plan import AugmentConfig, Job
from cosmos_sim.augmentation.variant import Augmenter, Variant
from cosmos_sim.data.runners import Work
from cosmos_sim.world_model.control_video import ControlVideo

LIMITS = Limits(
    {
        "front.mask_iou": 0.8,
        "hand.mask_iou": 0.8,
        "front.edge_f1": 0.6,
        "front.motion": 0.8,
        "hand.motion": 0.8,
        "front.object_iou": 0.7,
    }
)
FAULTS = ("shifted", "frozen", "swapped", "first", "episode 1", "nan", "broken")


class Repainter:
    """Permutes and dims colours by its prompt and seed; ``fault`` says what else is wrong with it."""

    def __init__(self, views: tuple[str, ...] | None = None, *, fault: str = "", pause: float = 0.0) -> None:
        self.views, self.fault, self.pause = views, fault, pause
        self.seeds: list[int] = []

    def size_for(self, height: int, width: int) -> tuple[int, int]:
        return (64, 160) if self.views else (height, width)

    def translate(
        self,
        controls: Mapping[str, ControlVideo],
        *,
        prompt: str,
        seed: int,
        guidance: float | None = None,
        steps: int | None = None,
        source: ndarray | None = None,
        keep: ndarray | None = None,
    ) -> Iterator[ndarray]:
        time.sleep(self.pause)
        if self.fault == "nan":
            raise FloatingPointError("NaN in chunk 1 of 1")
        first = not self.seeds
        self.seeds.append(seed)
        frames = controls["blur"].frames
        if self.fault == "shifted" or (self.fault == "first" and first):
            frames = np.roll(frames, 12, axis=2)
        if self.fault == "frozen":
            frames = frames[:1].repeat(len(frames), axis=0)
        if self.fault == "swapped":
            frames = np.roll(frames, frames.shape[2] // 2, axis=2)
        rng = np.random.default_rng([crc32(prompt.encode()), seed])
        painted = frames[..., rng.permutation(3)] * rng.uniform(0.8, 1.0)
        if source is not None and keep is not None:
            painted = np.where(keep[..., None] > 0.5, source, painted)
        yield from np.array_split(painted.astype(np.uint8), 3)


def open_repainter(
    config: AugmentConfig,
    device: str,
    *,
    fault: str = "",
    views: tuple[str, ...] | None = tuple(SIZES),
    pause: float = 0,
) -> Work[Job, Variant]:
    if fault == "broken":
        raise ValueError("no such world")
    return Augmenter(config, Repainter(views, fault=fault, pause=pause), DarkRobot(), limits=LIMITS).vary


def opener(config: AugmentConfig, **options: Any) -> partial[Work[Job, Variant]]:
    return partial(open_repainter, config, **options)
