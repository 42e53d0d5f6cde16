"""A control as pixels: a video beside the one that is to be made, how much it weighs, and where."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray


@dataclass(frozen=True)
class ControlVideo:
    """One control of a whole video.

    Raises:
        ValueError: frames or a mask of another type or shape, or a weight that is negative or not finite.
    """

    frames: UInt8[ndarray, "t h w 3"]
    weight: float = 1.0
    mask: Float[ndarray, "t h w"] | None = None
    """Where, and how much, it counts, from 0 to 1; everywhere if ``None``."""

    def __post_init__(self) -> None:
        check_frames(self.frames, "a control's frames")
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ValueError(f"a control's weight must be finite and not negative, not {self.weight}")
        if self.mask is not None:
            check_mask(self.mask, self.frames.shape[:3], "a control's mask")


def check_frames(frames: ndarray, what: str) -> None:
    """Raises a ValueError unless these are uint8 frames ``t h w 3``, at least one of them."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ValueError(f"{what} must be uint8 t h w 3, not {frames.dtype} {frames.shape}")


def check_mask(mask: ndarray, shape: tuple[int, ...], what: str) -> None:
    """Raises a ValueError unless this is a mask of that shape, with values from 0 to 1."""
    if mask.shape != tuple(shape):
        raise ValueError(f"{what} has shape {mask.shape}, its frames have t h w = {tuple(shape)}")
    if not ((mask >= 0) & (mask <= 1)).all():
        raise ValueError(f"{what} must lie between 0 and 1, not in {mask.min()} .. {mask.max()}")
