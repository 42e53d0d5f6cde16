"""What a video begins from: an image or the end of a video, at the size that is to be generated.

Cosmos-Predict2.5 encodes these frames followed by black ones (after an image) or by the last one repeated (after a
video). Its encoder sees the past alone, so that the latents of the given frames are the same without what follows; they
are all that is used, and all that is made here.
"""

import math
from collections import deque
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image, ImageOps
from torchvision.transforms import functional as transforms

from cosmos_sim.data.video import SequentialVideo

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
VIDEOS = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")


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


def fit(frames: UInt8[ndarray, "t h w c"], size: tuple[int, int]) -> UInt8[ndarray, "t i j c"]:
    """Resize, keeping proportions, to the least size that covers ``size``, and crop the centre.

    Bilinear with antialiasing, by the function that the original uses.

    Raises:
        ValueError: a size of 0, of the frames or to fit them to.
    """
    height, width = frames.shape[1:3]
    if min(size) < 1 or min(height, width) < 1:
        raise ValueError(f"images of {height}x{width} pixels cannot be fitted to {size[0]}x{size[1]}")
    scale = max(size[0] / height, size[1] / width)
    cover = [math.ceil(scale * height), math.ceil(scale * width)]
    images = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    resized = transforms.resize(images, cover, antialias=True)
    return transforms.center_crop(resized, list(size)).permute(0, 2, 3, 1).contiguous().numpy()


def read_image(path: Path) -> UInt8[ndarray, "h w c"]:
    """An image file in RGB, turned upright as its EXIF says; transparent parts as they lie beneath.

    Raises:
        ValueError: naming the file: it is missing, empty, no image, or broken.
    """
    _check_file(path, "image")
    try:
        with Image.open(path) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{str(path)!r} is not a readable image: {error}") from error


def last_frames(path: Path, frames: int) -> UInt8[ndarray, "t h w c"]:
    """The end of a video file; memory does not grow with the video.

    Raises:
        ValueError: naming the file: it is missing, empty, no video, broken, or shorter than ``frames``.
    """
    _check_file(path, "video")
    with SequentialVideo(Path(path)) as video:
        last = deque(video, maxlen=frames)
    if len(last) < frames:
        raise ValueError(f"{str(path)!r} has {len(last)} frames; {frames} are needed")
    return np.stack(last)


def _check_file(path: Path, kind: str) -> None:
    if not Path(path).is_file():
        raise ValueError(f"{str(path)!r}: the {kind} is missing")
    if Path(path).stat().st_size == 0:
        raise ValueError(f"{str(path)!r}: the {kind} is empty (0 bytes)")
