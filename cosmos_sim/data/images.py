"""Image files, and images of any size brought to another: to cover it, cropped in the middle, or stretched."""

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Shaped, UInt8
from numpy import ndarray
from PIL import ExifTags, Image, ImageOps
from torchvision.transforms import functional as transforms

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
"""The endings of image files."""

_SMALLEST = (cv2.IMWRITE_PNG_COMPRESSION, 9)


def read_image(path: Path) -> UInt8[ndarray, "h w c"]:
    """An image file in RGB, turned upright as its EXIF says; transparent parts as they lie beneath.

    Raises:
        ValueError: naming the file: it is missing, empty, no image, or broken.
    """
    check_file(path, "image")
    try:
        with Image.open(path) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{str(path)!r} is not a readable image: {error}") from error


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of an image file as :func:`read_image` gives it, from its header.

    Raises:
        ValueError: naming the file: it is missing, empty, or no image.
    """
    check_file(path, "image")
    try:
        with Image.open(path) as image:
            # PNG's own getexif would decode the image. Orientations from 5 on swap the sides.
            turned = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1) >= 5
            return (image.width, image.height) if turned else (image.height, image.width)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{str(path)!r} is not a readable image: {error}") from error


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


def fit_labels(labels: Shaped[ndarray, "t h w"], size: tuple[int, int]) -> Shaped[ndarray, "t i j"]:
    """What each pixel of :func:`fit`'s result shows, by labels of the pixels (or distances): the nearest, unmixed."""
    (height, width), picked = labels.shape[1:3], []
    scale = max(size[0] / height, size[1] / width)
    for own, wanted in ((height, size[0]), (width, size[1])):
        cover = math.ceil(scale * own)
        places = np.arange(wanted) + round((cover - wanted) / 2) + 0.5
        picked.append((places * own / cover).astype(np.int64))
    return labels[:, picked[0][:, None], picked[1]]


def stretch(images: Shaped[ndarray, "t h w *c"], size: tuple[int, int]) -> Shaped[ndarray, "t i j *c"]:
    """Resize to exactly ``size``, whatever the proportions: uint8 images, or float masks.

    Averages of areas where both sides shrink; otherwise images by Lanczos, as Cosmos-Transfer2.5 brings its videos to
    the network's size and back, and masks linearly, as Lanczos would leave 0 to 1.

    Raises:
        ValueError: a size of 0, of the images or to bring them to.
    """
    height, width = images.shape[1:3]
    if min(*size, height, width) < 1:
        raise ValueError(f"images of {height}x{width} pixels cannot be stretched to {size[0]}x{size[1]}")
    if (height, width) == size:
        return images
    grow = cv2.INTER_LANCZOS4 if images.dtype == np.uint8 else cv2.INTER_LINEAR
    method = cv2.INTER_AREA if size[0] <= height and size[1] <= width else grow
    out = np.empty((len(images), *size, *images.shape[3:]), images.dtype)
    for image, to in zip(images, out, strict=True):
        to[...] = cv2.resize(image, size[::-1], interpolation=method).reshape(to.shape)
    if images.dtype != np.uint8:  # OpenCV's averages of ones may round to above 1
        np.clip(out, images.min(), images.max(), out=out)
    return out


def beside_sizes(sizes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The sizes at which images of ``sizes`` stand next to each other: shrunk to the height of the lowest."""
    lowest = min(height for height, _ in sizes)
    return [(lowest, max(1, round(width * lowest / height))) for height, width in sizes]


def beside(videos: Sequence[UInt8[ndarray, "t _ _ c"]]) -> UInt8[ndarray, "t h w c"]:
    """Videos of equally many frames next to each other, from left to right, of :func:`beside_sizes`."""
    sizes = beside_sizes([(video.shape[1], video.shape[2]) for video in videos])
    return np.concatenate([fit(video, size) for video, size in zip(videos, sizes, strict=True)], axis=2)


def to_png(image: UInt8[ndarray, "h w 3"]) -> bytes:
    """An RGB image as the bytes of a PNG file, without loss."""
    done, data = cv2.imencode(".png", cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR), _SMALLEST)
    assert done
    return data.tobytes()


def from_png(data: bytes) -> UInt8[ndarray, "h w 3"]:
    """The RGB image that :func:`to_png` made bytes of; raises a ``ValueError`` for bytes that are none."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise ValueError("an image is broken")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def check_file(path: Path, kind: str) -> None:
    """:class:`ValueError`, naming it and its ``kind``, unless a file is there and is not empty."""
    if not Path(path).is_file():
        raise ValueError(f"{str(path)!r}: the {kind} is missing")
    if Path(path).stat().st_size == 0:
        raise ValueError(f"{str(path)!r}: the {kind} is empty (0 bytes)")
