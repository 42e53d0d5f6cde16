"""What a video begins from: an image or the end of a video, at the size that is to be generated.

Cosmos-Predict2.5 encodes these frames followed by black ones (after an image) or by the last one repeated (after a
video). Its encoder sees the past alone, so that the latents of the given frames are the same without what follows; they
are all that is used, and all that is made here.
"""

from collections import deque
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from cosmos_sim.data.images import IMAGES, check_file, fit, read_image
from cosmos_sim.data.video import VIDEOS, SequentialVideo


def given_frames(path: Path, *, frames: int, size: tuple[int, int]) -> UInt8[ndarray, "t h w c"]:
    """The last ``frames`` frames of a video, or an image as the one frame, resized to cover ``size`` and cropped.

    Args:
        frames: how many the model begins from: 1 + 4 (n - 1) for n latents.
        size: height and width in pixels.

    Raises:
        ValueError: naming the file: it is missing, empty, no image or video, broken, or shorter than ``frames``.
    """
    if frames < 1:
        raise ValueError(f"a video begins from 1 frame or more, not {frames}")
    kind = Path(path).suffix.lower()
    if kind in IMAGES:
        if frames != 1:
            raise ValueError(f"{str(path)!r} is one image; {frames} frames are needed: give a video")
        return fit(read_image(path)[None], size)
    if kind in VIDEOS:
        return fit(last_frames(path, frames), size)
    raise ValueError(f"{str(path)!r} is neither an image ({' '.join(IMAGES)}) nor a video ({' '.join(VIDEOS)})")


def last_frames(path: Path, frames: int) -> UInt8[ndarray, "t h w c"]:
    """The end of a video file; memory does not grow with the video.

    Raises:
        ValueError: naming the file: it is missing, empty, no video, broken, or shorter than ``frames``.
    """
    check_file(path, "video")
    with SequentialVideo(Path(path)) as video:
        last = deque(video, maxlen=frames)
    if len(last) < frames:
        raise ValueError(f"{str(path)!r} has {len(last)} frames; {frames} are needed")
    return np.stack(last)
