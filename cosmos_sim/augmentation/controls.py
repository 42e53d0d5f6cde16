"""Control videos out of frames: edges, blur, depth and segments, as Cosmos-Transfer2.5 was trained on them.

Every function takes one clip of one camera and gives ``uint8 t h w 3`` of the same size. What shows several views
side by side is split before: edges and blur would see the seam, and depth has a range of its own in each view.
"""

import difflib
from collections.abc import Callable, Iterable
from functools import lru_cache

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8, UInt16
from numpy import ndarray
from torchvision.transforms import functional as transforms
from torchvision.transforms.functional import InterpolationMode

EDGE_PRESETS = {
    "very_low": (20, 50),
    "low": (50, 100),
    "medium": (100, 200),
    "high": (200, 300),
    "very_high": (300, 400),
}
"""Canny's lower and upper threshold."""

BLUR_PRESETS = {
    "none": (1, 1),
    "very_low": (1, 4),
    "low": (4, 4),
    "medium": (2, 10),
    "high": (1, 16),
    "very_high": (4, 16),
}
"""How much smaller frames are while they are filtered, and how much smaller they are made afterwards and enlarged
again; ``none`` leaves them as they are."""

_BILATERAL = (30, 150.0, 100.0)
"""Diameter in pixels, and the deviations in levels and in pixels, at inference."""

_CANDIDATES = 32


def edge(frames: UInt8[ndarray, "t h w 3"], preset: str = "medium") -> UInt8[ndarray, "t h w 3"]:
    """Canny's edges of each frame, 255 on 0, between the thresholds of :data:`EDGE_PRESETS`.

    Raises:
        ValueError: an unknown preset, or frames that are not ``uint8 t h w 3``.
    """
    return _canny(frames, *choose(EDGE_PRESETS, preset, "preset of edges"))


def blur(frames: UInt8[ndarray, "t h w 3"], preset: str = "very_low") -> UInt8[ndarray, "t h w 3"]:
    """Frames without their detail: filtered by OpenCV's bilateral filter, then shrunk and enlarged again.

    Shrunk by area before the filter and enlarged linearly after it; then shrunk and enlarged bicubically, with
    antialiasing, by :data:`BLUR_PRESETS`. Factors are in pixels, whatever the size of the frames.

    Raises:
        ValueError: an unknown preset, frames that are not ``uint8 t h w 3``, or too small for the preset.
    """
    area, coarse = choose(BLUR_PRESETS, preset, "preset of blur")
    if preset == "none":
        _check(frames)
        return frames.copy()
    return _blur(frames, [lambda image: cv2.bilateralFilter(image, *_BILATERAL)], area=area, coarse=coarse)


def random_edge(frames: UInt8[ndarray, "t h w 3"], seed: int) -> UInt8[ndarray, "t h w 3"]:
    """Edges for training: a lower threshold of 20 to 99, and an upper one 50 to 149 above it, the same in all frames.

    Raises:
        ValueError: frames that are not ``uint8 t h w 3``.
    """
    rng = np.random.default_rng(seed)
    lower = int(rng.integers(20, 100))
    return _canny(frames, lower, lower + int(rng.integers(50, 150)))


def random_blur(frames: UInt8[ndarray, "t h w 3"], seed: int) -> UInt8[ndarray, "t h w 3"]:
    """Blur for training, the same in all frames: three times in ten bilateral, five times Gaussian, twice both.

    Bilateral: diameter 15 to 49, deviations 100 to 299 levels and 50 to 149 pixels. Gaussian: 21 to 29 pixels wide,
    deviation 10.5 to 14.5. Shrunk by 1 to 4 while it is filtered, and by 4 to 16 afterwards, but to no fewer than 4
    pixels.

    Raises:
        ValueError: frames that are not ``uint8 t h w 3``.
    """
    rng = np.random.default_rng(seed)
    diameter, levels, reach = (int(rng.integers(*span)) for span in ((15, 50), (100, 300), (50, 150)))
    width, deviation = 21 + 2 * int(rng.integers(5)), float(rng.uniform(10.5, 14.5))
    area, coarse = int(rng.integers(1, 5)), int(rng.integers(4, 17))

    def bilateral(image: ndarray) -> ndarray:
        return cv2.bilateralFilter(image, diameter, levels, reach)

    def gaussian(image: ndarray) -> ndarray:
        return cv2.GaussianBlur(image, (width, width), sigmaX=deviation)

    draws: tuple[list[Callable[[ndarray], ndarray]], ...] = ([bilateral], [gaussian], [bilateral, gaussian])
    filters = draws[int(rng.choice(3, p=(0.3, 0.5, 0.2)))]
    most = max(1, min(frames.shape[1:3], default=0) // 4)
    return _blur(frames, filters, area=min(area, most), coarse=min(coarse, most))


def depth_frames(depth: Float32[ndarray, "t h w"] | UInt16[ndarray, "t h w"]) -> UInt8[ndarray, "t h w 3"]:
    """Grey levels of a clip's distances, from 255 at the nearest to 0 at the farthest of all its frames.

    ``255 (far - depth) / (far - near)``, rounded, with the extremes over the whole clip, as what Video-Depth-Anything
    finds is normalised: near is bright. ``depth`` is in any unit, larger is farther; what is not above 0 or not finite
    is taken to be farthest.

    Raises:
        ValueError: other than three axes, or an empty clip.
    """
    if depth.ndim != 3 or depth.size == 0:
        raise ValueError(f"depth must be t h w and not empty, got shape {depth.shape}")
    known = np.isfinite(depth) & (depth > 0)
    seen = depth[known].astype(np.float64)
    grey = np.zeros(depth.shape, np.uint8)
    if seen.size and np.ptp(seen) > 0:
        grey[known] = np.rint(255 * (seen.max() - seen) / np.ptp(seen))
    return np.repeat(grey[..., None], 3, axis=-1)


def segment_frames(ids: UInt8[ndarray, "t h w"], seed: int) -> UInt8[ndarray, "t h w 3"]:
    """A random colour for every segment, the same throughout the clip and meaning nothing; id 0 is black.

    The colours depend on ``seed`` and the id alone, so that clips of one video, or its views, agree when they share a
    seed. Each is the one of 32 random ones that is farthest from those before it, so that few segments look alike.

    Raises:
        ValueError: ids that are not ``uint8 t h w``.
    """
    if ids.ndim != 3 or ids.dtype != np.uint8:
        raise ValueError(f"segments are uint8 of t h w, got {ids.dtype} of shape {ids.shape}")
    return _colours(seed)[ids]


def choose[T](presets: dict[str, T], name: str, what: str) -> T:
    """The preset ``name``.

    Raises:
        ValueError: there is none; with the one that was probably meant.
    """
    if name not in presets:
        raise ValueError(f"unknown {what} {name!r}: {meant(name, presets)}")
    return presets[name]


def meant(name: str, names: Iterable[str]) -> str:
    """The rest of a message about an unknown ``name``: the nearest of ``names``, or all of them."""
    names = list(names)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(names)}"


def _canny(frames: ndarray, lower: int, upper: int) -> ndarray:
    _check(frames)
    edges = np.stack([cv2.Canny(np.ascontiguousarray(image), lower, upper) for image in frames])
    return np.repeat(edges[..., None], 3, axis=-1)


def _blur(frames: ndarray, filters: list[Callable[[ndarray], ndarray]], *, area: int, coarse: int) -> ndarray:
    _check(frames)
    height, width = frames.shape[1:3]
    if min(height, width) < max(area, coarse):
        raise ValueError(f"frames of {height}x{width} pixels cannot be shrunk by {max(area, coarse)}")
    small = (width // area, height // area)
    smooth = np.empty_like(frames)
    for image, out in zip(frames, smooth, strict=True):
        shrunk = cv2.resize(np.ascontiguousarray(image), small, interpolation=cv2.INTER_AREA)
        for apply in filters:
            shrunk = apply(shrunk)
        out[:] = cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR)
    images = torch.from_numpy(smooth).permute(0, 3, 1, 2)
    for size in ([height // coarse, width // coarse], [height, width]):
        images = transforms.resize(images, size, interpolation=InterpolationMode.BICUBIC, antialias=True)
    return images.permute(0, 2, 3, 1).contiguous().numpy()


@lru_cache(maxsize=64)
def _colours(seed: int) -> UInt8[ndarray, "ids 3"]:
    """Colours of the ids 0 to 255: saturation of .1 to 1 and value of .2 to 1, as the original draws them."""
    rng = np.random.default_rng(seed)
    drawn = rng.uniform((0, 0.1, 0.2), (360, 1, 1), size=(255, _CANDIDATES, 3)).astype(np.float32)
    candidates: ndarray = cv2.cvtColor(drawn, cv2.COLOR_HSV2RGB) * 255
    table = np.zeros((256, 3), np.float32)
    for k, some in enumerate(candidates, start=1):
        apart = np.square(some[:, None] - table[None, :k]).sum(axis=-1).min(axis=1)
        table[k] = some[apart.argmax()]
    return np.rint(table).astype(np.uint8)


def _check(frames: ndarray) -> None:
    if frames.ndim != 4 or frames.dtype != np.uint8 or frames.shape[-1] != 3 or frames.size == 0:
        raise ValueError(f"a video is uint8 of t h w 3, got {frames.dtype} of shape {frames.shape}")
