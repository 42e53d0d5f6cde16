"""A tiny task whose answer is in the picture: a square's place is the direction to move."""

from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from cosmos_sim.types import Episode

ACTION_DIM, STATE_DIM = 3, 5
SIZES = {"front": (24, 40), "side": (36, 28)}


def picture(place: ndarray, size: tuple[int, int]) -> ndarray:
    """Frames ``t h w 3`` with a bright square at each ``place`` (row and column in [-1, 1])."""
    height, width = size
    rows, columns = np.mgrid[0:height, 0:width]
    centre = (place + 1) / 2 * (np.array(size) - 8) + 4
    inside = (np.abs(rows - centre[:, 0, None, None]) < 4) & (np.abs(columns - centre[:, 1, None, None]) < 4)
    return np.where(inside[..., None], [240, 60, 30], [40, 50, 60]).astype(np.uint8)


def episode(seed: int, *, length: int = 12, succeeds_at: int | None = 6) -> Episode:
    """An episode in which the square stays where it is and each action is its place and their product."""
    generator = np.random.default_rng(seed)
    place = np.repeat(generator.uniform(-1, 1, (1, 2)), length, axis=0)
    action = np.concatenate([place, place[:, :1] * place[:, 1:]], axis=1).astype(np.float32)
    success = np.arange(length) >= (length if succeeds_at is None else succeeds_at)
    return Episode(
        frames={camera: picture(place, size) for camera, size in SIZES.items()},
        state=generator.normal(size=(length, STATE_DIM)).astype(np.float32),
        action=action,
        task="point at the square",
        success=success,
        reward=success.astype(np.float32),
    )


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten episodes of twelve steps; numbers 2 and 5 fail."""
    from cosmos_sim.data.lerobot import write_dataset

    episodes = [episode(seed, succeeds_at=None if seed in (2, 5) else 6) for seed in range(10)]
    return write_dataset(episodes, tmp_path_factory.mktemp("policies") / "squares")


@pytest.fixture
def observation() -> dict:
    """Three environments' observations, of the sizes of ``dataset``."""
    generator = np.random.default_rng(3)
    place = generator.uniform(-1, 1, (3, 2))
    return {
        "pixels": {camera: picture(place, size) for camera, size in SIZES.items()},
        "agent_pos": generator.normal(size=(3, STATE_DIM)).astype(np.float32),
    }
