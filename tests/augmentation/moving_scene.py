"""Two cameras that see a dark robot move over a table with a saturated cube, and who finds them by their darkness."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy import ndarray

from cosmos_sim.data.segments import Segments
from cosmos_sim.types import Episode

SIZES = {"front": (64, 80), "hand": (48, 56)}
STEPS = 20


def scene(
    episode: int, *, table: Sequence[int] = (190, 180, 170), cube: Sequence[int] = (220, 60, 60), steps: int = STEPS
) -> dict[str, ndarray]:
    """Frames of both cameras. The colours change nothing of where things are."""
    rng = np.random.default_rng(episode)
    place, speed = rng.uniform(0.1, 0.3), rng.uniform(0.5, 0.6)
    videos = {}
    for camera, (height, width) in SIZES.items():
        frames = np.empty((steps, height, width, 3), np.uint8)
        for k in range(steps):
            frames[k] = table
            frames[k, height // 2 : height // 2 + 11, -14:-3] = cube
            x = int((place + speed * k / steps) * width)
            arm = frames[k, : height // 2 + int(4 * np.sin(k / 3)), x : x + 12]
            arm[:] = 30
            arm[:, 4:8:2] = 5
            arm[::6, 2:10] = 55
        videos[camera] = frames
    return videos


def episode_of(index: int, **look: Sequence[int]) -> Episode:
    """An episode of :func:`scene` with numbers drawn from its index."""
    rng = np.random.default_rng([7, index])
    frames = scene(index, **look)
    success = np.arange(STEPS) >= STEPS - 3
    return Episode(
        frames=frames,
        state=rng.normal(size=(STEPS, 4)).astype(np.float32),
        action=rng.normal(size=(STEPS, 3)).astype(np.float32),
        task="push",
        success=success,
        reward=success.astype(np.float32),
        fps=10.0,
    )


class DarkRobot:
    """An annotator: what is dark is the robot, what is saturated and not the table's is the cube."""

    names: tuple[str, ...] = ("background", "robot", "cube")

    def depth(self, frames: ndarray) -> ndarray:
        return 1 + frames.mean(axis=3).astype(np.float32) / 255

    def segments(self, frames: ndarray, phrases: Sequence[str]) -> Segments:
        ids = np.zeros(frames.shape[:3], np.uint8)
        for index, phrase in enumerate(phrases, start=1):
            ids[self._mask(frames, phrase)] = index
        return Segments(ids, ("background", *phrases))

    def _mask(self, frames: ndarray, phrase: str) -> ndarray:
        robot = frames.max(axis=3) < 75
        if phrase == "robot":
            return robot
        table = np.median(frames.reshape(-1, 3), axis=0)
        return ~robot & (np.abs(frames - table).max(axis=3) > 40)


def relight(frames: ndarray, gain: float) -> ndarray:
    return cv2.convertScaleAbs(frames.reshape(len(frames), -1), alpha=gain).reshape(frames.shape)
