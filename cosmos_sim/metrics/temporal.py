"""How a video changes from frame to frame: whether it moves as much as it should, and whether it flickers."""

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray


def motion(frames: UInt8[ndarray, "t h w c"]) -> float:
    """Mean absolute change from one frame to the next, in levels of 255; 0 for a still.

    Raises:
        ValueError: fewer than two frames, or frames that are not ``uint8 t h w c``.
    """
    return float(np.abs(_changes(frames, 2)).mean())


def flicker(frames: UInt8[ndarray, "t h w c"]) -> float:
    """Mean absolute second difference ``v[k+1] - 2 v[k] + v[k-1]``, in levels of 255.

    0 for a still, and for brightness that rises or falls steadily; independent noise of standard deviation s in every
    frame adds about ``sqrt(6) s sqrt(2 / pi)``. Motion of edges counts too, so compare it with a real video's.

    Raises:
        ValueError: fewer than three frames, or frames that are not ``uint8 t h w c``.
    """
    return float(np.abs(np.diff(_changes(frames, 3), axis=0)).mean())


def change_error(*, truth: UInt8[ndarray, "t h w c"], estimate: UInt8[ndarray, "t h w c"]) -> float:
    """Mean absolute difference of the changes from frame to frame, in levels of 255.

    What stands still in the wrong place or has the wrong colour costs nothing; what moves otherwise than in ``truth``
    does, and so does what flickers.

    Raises:
        ValueError: unequal shapes, fewer than two frames, or frames that are not ``uint8 t h w c``.
    """
    if truth.shape != estimate.shape:
        raise ValueError(f"truth and estimate must have one shape, got {truth.shape} and {estimate.shape}")
    return float(np.abs(_changes(estimate, 2) - _changes(truth, 2)).mean())


def _changes(frames: ndarray, least: int) -> ndarray:
    if frames.ndim != 4 or frames.dtype != np.uint8:
        raise ValueError(f"a video is uint8 of t h w c, got {frames.dtype} of shape {frames.shape}")
    if len(frames) < least or frames.size == 0:
        raise ValueError(f"a video of at least {least} frames is needed, got one of shape {frames.shape}")
    return np.diff(frames.astype(np.int32), axis=0)
