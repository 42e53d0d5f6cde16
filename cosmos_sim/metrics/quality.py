"""How good a video looks by itself, without a truth beside it: one number of any judge."""

import importlib
from typing import Protocol

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray


class Quality(Protocol):
    """Judges one clip; larger is better, and always above 0. The paper's is DOVER (Wu et al., 2023)."""

    def __call__(self, frames: UInt8[ndarray, "t h w 3"], /) -> float: ...


def sharpness(frames: UInt8[ndarray, "t h w 3"]) -> float:
    """Root mean square of the brightness's gradient, in levels a pixel: how much detail there is, and no more.

    By Sobel's 3x3 operator divided by 8 (Tenenbaum's measure of focus), over all frames. It needs no weights and is
    no judge of beauty: noise raises it, and so do compression's blocks. What it tells is blur, the usual way in which
    long generated videos decay, when it is compared with the true video's.

    Raises:
        ValueError: frames that are not ``uint8 t h w 3``, or none.
    """
    if frames.ndim != 4 or frames.dtype != np.uint8 or frames.shape[-1] != 3 or frames.size == 0:
        raise ValueError(f"a video is uint8 of t h w 3, got {frames.dtype} of shape {frames.shape}")
    total = 0.0
    for image in frames:
        grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY).astype(np.float32)
        total += sum(float(np.square(cv2.Sobel(grey, cv2.CV_32F, *axis)).mean()) for axis in ((1, 0), (0, 1)))
    return float(np.sqrt(total / len(frames)) / 8)


QUALITIES: dict[str, Quality] = {"sharpness": sharpness}


def find_quality(name: str) -> Quality:
    """A judge of :data:`QUALITIES`, or any function by ``package.module:function``.

    Raises:
        ValueError: there is no such judge.
    """
    if name in QUALITIES:
        return QUALITIES[name]
    module, colon, function = name.partition(":")
    if not colon:
        raise ValueError(
            f"unknown quality {name!r}: choose from {', '.join(QUALITIES)}, or give package.module:function"
        )
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"no quality {name!r}: {error}") from error
    if not callable(found):
        raise ValueError(f"no quality {name!r}: it cannot be called")
    judge: Quality = found
    return judge
