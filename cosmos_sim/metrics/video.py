"""How far imagined frames are from true ones."""

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray

_PEAK = 255.0
_WINDOW = 11
_SIGMA = 1.5


def psnr(
    *,
    truth: UInt8[ndarray, "*batch h w c"],
    estimate: UInt8[ndarray, "*batch h w c"],
    where: Bool[ndarray, "*batch h w"] | None = None,
) -> float:
    """Peak signal-to-noise ratio in dB, ``10 log10(255^2 / MSE)``; infinite for identical frames.

    The squared error is pooled over every frame given before the logarithm, so that one easy clip cannot lift the
    figure of many hard ones, as a mean of per-clip values would let it. ``where`` picks the pixels that count.

    Raises:
        ValueError: for unequal shapes, no pixels, or frames that are not ``uint8``.
    """
    _check(truth, estimate)
    if where is not None and (where.shape != truth.shape[:-1] or not where.any()):
        raise ValueError(f"where must be of shape {truth.shape[:-1]} and pick a pixel, got {where.shape}")
    masks = [None] * len(_images(truth)) if where is None else where.reshape(-1, *where.shape[-2:])
    triples = zip(_images(truth), _images(estimate), masks, strict=True)
    total = sum(_squared_error(a, b) if m is None else _squared_error(a[m], b[m]) for a, b, m in triples)
    values = truth.size if where is None else int(where.sum()) * truth.shape[-1]
    return float("inf") if total == 0 else 10 * float(np.log10(_PEAK**2 * values / total))


def changed(
    start: UInt8[ndarray, "*batch h w c"], end: UInt8[ndarray, "*batch h w c"], *, levels: int = 24
) -> Bool[ndarray, "*batch h w"]:
    """Where the two differ by more than ``levels`` of 255 in any channel: what moved, rather than the background."""
    return np.any(np.abs(start.astype(np.int16) - end.astype(np.int16)) > levels, axis=-1)


def ssim(
    *,
    truth: UInt8[ndarray, "*batch h w c"],
    estimate: UInt8[ndarray, "*batch h w c"],
    where: Bool[ndarray, "*batch h w"] | None = None,
) -> float:
    """Mean structural similarity over frames, channels and all places where the window fits.

    Gaussian 11x11 window with sigma 1.5, ``K1 = .01``, ``K2 = .03``, covariances normalised by N
    (Wang, Bovik, Sheikh and Simoncelli, 2004). ``where`` picks the pixels whose windows count.

    Raises:
        ValueError: for unequal shapes, frames that are not ``uint8``, frames smaller than the window, or no pixel of
            ``where`` around which the window fits.
    """
    _check(truth, estimate)
    if min(truth.shape[-3:-1]) < _WINDOW:
        raise ValueError(f"SSIM needs frames of at least {_WINDOW}x{_WINDOW} pixels, got {truth.shape[-3:-1]}")
    pairs = zip(_images(truth), _images(estimate), strict=True)
    if where is None:
        return float(np.mean([_similarity(a, b).mean() for a, b in pairs]))
    border = _WINDOW // 2
    inner = where[..., border:-border, border:-border]
    if where.shape != truth.shape[:-1] or not inner.any():
        raise ValueError(f"where must be of shape {truth.shape[:-1]} and pick an inner pixel, got {where.shape}")
    masks = inner.reshape(-1, *inner.shape[-2:])
    total = sum(_similarity(a, b)[mask].sum() for (a, b), mask in zip(pairs, masks, strict=True) if mask.any())
    return float(total / (inner.sum() * truth.shape[-1]))


def _similarity(truth: ndarray, estimate: ndarray) -> ndarray:
    """The map of one image, ``h w c``, without the border where the window does not fit."""
    a, b = truth.astype(np.float64), estimate.astype(np.float64)
    mean_a, mean_b = _blur(a), _blur(b)
    variance_a, variance_b = _blur(a * a) - mean_a**2, _blur(b * b) - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * _PEAK) ** 2, (0.03 * _PEAK) ** 2
    similarity = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    )
    border = _WINDOW // 2
    height, width = truth.shape[:2]
    inner: ndarray = similarity.reshape(truth.shape)[border : height - border, border : width - border]
    return inner


def _blur(image: ndarray) -> ndarray:
    return cv2.GaussianBlur(image, (_WINDOW, _WINDOW), _SIGMA)


def _squared_error(a: ndarray, b: ndarray) -> float:
    return float(np.sum((a.astype(np.int64) - b.astype(np.int64)) ** 2))


def _images(frames: ndarray) -> ndarray:
    return frames.reshape(-1, *frames.shape[-3:])


def _check(truth: ndarray, estimate: ndarray) -> None:
    if truth.shape != estimate.shape:
        raise ValueError(f"truth and estimate must have one shape, got {truth.shape} and {estimate.shape}")
    if truth.ndim < 3 or truth.size == 0:
        raise ValueError(f"frames must be (..., h, w, c) and not empty, got shape {truth.shape}")
    for name, frames in (("truth", truth), ("estimate", estimate)):
        if frames.dtype != np.uint8:
            raise ValueError(f"{name} must hold uint8 frames, got {frames.dtype}")
