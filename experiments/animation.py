"""Animated pictures for the documentation."""

from collections.abc import Iterable
from pathlib import Path

from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from cosmos_sim.data.files import new_file
from cosmos_sim.envs.twin.simulation import FPS


def save(path: Path, frames: Iterable[UInt8[ndarray, "h w 3"]], *, quality: int = 70) -> None:
    """Write a WebP that shows ``frames`` over and over as fast as the simulator runs, whole or not at all."""
    first, *rest = [Image.fromarray(frame) for frame in frames]
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as partial:
        first.save(
            partial,
            format="WEBP",
            save_all=True,
            append_images=rest,
            duration=1000 // FPS,
            loop=0,
            quality=quality,
            method=4,
        )
