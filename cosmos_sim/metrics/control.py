"""How closely generated frames keep to the controls that they were made under: the four columns of Table 12.

The paper measures with PAIBench-Transfer (Zhou et al., 2025): the control is taken from the generated video as it was
from the true one, and the two are compared.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, Real, UInt8
from numpy import ndarray
from scipy.optimize import linear_sum_assignment

from cosmos_sim.metrics.video import ssim


@dataclass(frozen=True)
class EdgeScore:
    """How many edge pixels two videos share, pooled over all frames, without tolerance."""

    precision: float
    """Share of the estimate's edge pixels that are the truth's; 0 where it has none."""
    recall: float
    """Share of the truth's edge pixels that are the estimate's; 0 where it has none."""

    @property
    def f1(self) -> float:
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total > 0 else 0.0


@dataclass(frozen=True)
class MaskScore:
    """How well segments were found again."""

    miou: float
    """Mean intersection over union of the segments that were found; 0 where none was."""
    recall: float
    """Share of the true segments that were found."""


def edge_f1(
    *,
    truth: UInt8[ndarray, "t h w 3"],
    estimate: UInt8[ndarray, "t h w 3"],
    thresholds: tuple[int, int] = (100, 200),
    where: Bool[ndarray, "t h w"] | None = None,
) -> EdgeScore:
    """Precision, recall and F1 of Canny's edges (with the lower and upper threshold given) in RGB frames.

    ``where`` picks the pixels that count; edges are found in whole frames.

    Raises:
        ValueError: unequal shapes, or frames that are not ``uint8 t h w 3``.
    """
    _check_frames(truth, estimate, where)
    shared = found = there = 0
    for k, (a, b) in enumerate(zip(truth, estimate, strict=True)):
        true, guess = (cv2.Canny(np.ascontiguousarray(image), *thresholds) > 0 for image in (a, b))
        if where is not None:
            true, guess = true & where[k], guess & where[k]
        shared, found, there = shared + int((true & guess).sum()), found + int(guess.sum()), there + int(true.sum())
    return EdgeScore(precision=shared / found if found else 0.0, recall=shared / there if there else 0.0)


def bilateral(frames: UInt8[ndarray, "t h w 3"]) -> UInt8[ndarray, "t h w 3"]:
    """The blur under which PAIBench-Transfer compares: diameter 30, deviations of 150 levels and 100 pixels."""
    return np.stack([cv2.bilateralFilter(np.ascontiguousarray(image), 30, 150, 100) for image in frames])


def blur_ssim(
    *,
    truth: UInt8[ndarray, "t h w 3"],
    estimate: UInt8[ndarray, "t h w 3"],
    blur: Callable[[UInt8[ndarray, "t h w 3"]], UInt8[ndarray, "t h w 3"]] = bilateral,
    where: Bool[ndarray, "t h w"] | None = None,
) -> float:
    """:func:`cosmos_sim.metrics.video.ssim` of both videos under ``blur``; ``where`` picks the pixels that count.

    PAIBench-Transfer takes scikit-image's default window (7x7, uniform), and the range of each frame as the range of
    values; here it is the Gaussian window and the range of 255 that SSIM is defined with.

    Raises:
        ValueError: unequal shapes, frames that are not ``uint8 t h w 3``, or smaller than SSIM's window.
    """
    _check_frames(truth, estimate, where)
    return ssim(truth=blur(truth), estimate=blur(estimate), where=where)


def depth_si_rmse(
    *,
    truth: Real[ndarray, "t h w"],
    estimate: Real[ndarray, "t h w"],
    where: Bool[ndarray, "t h w"] | None = None,
) -> float:
    """Scale-invariant error of depth, in the unit of ``truth``: the mean over frames of each frame's RMSE.

    In each frame the estimate is scaled by ``s = median(truth) / median(estimate)``, then
    ``sqrt(mean((truth - s estimate)^2))``, over the pixels at which both are above 0 and finite. Frames without any
    do not count.

    Raises:
        ValueError: unequal shapes, other than three axes, or no frame with a pixel that counts.
    """
    _check_shapes(truth, estimate, where, axes=3)
    valid = np.isfinite(truth) & np.isfinite(estimate) & (truth > 0) & (estimate > 0)
    if where is not None:
        valid &= where
    errors = [_scaled_error(a[ok], b[ok]) for a, b, ok in zip(truth, estimate, valid, strict=True) if ok.any()]
    if not errors:
        raise ValueError(f"no pixel of {len(truth)} frame(s) has a depth above 0 in both")
    return float(np.mean(errors))


def mask_miou(
    *,
    truth: UInt8[ndarray, "t h w"],
    estimate: UInt8[ndarray, "t h w"],
    matching: Literal["max", "hungarian"] = "max",
    threshold: float = 0.1,
    where: Bool[ndarray, "t h w"] | None = None,
) -> MaskScore:
    """Mean intersection over union of segments, each a volume of ``t h w``, and the share of them that was found.

    Pixels hold the segment that they belong to; 0 is the background and counts as no segment. Every segment of
    ``truth`` is matched to the one of ``estimate`` that overlaps it most (``max``), or so that no two share one and
    the sum is largest (``hungarian``). It is found if the intersection over union is above ``threshold``. Where
    ``truth`` has no segment there is nothing to find: recall 1, and mIoU 1 if ``estimate`` has none either, else 0.

    Raises:
        ValueError: unequal shapes, ids that are not ``uint8``, or an unknown ``matching``.
    """
    _check_shapes(truth, estimate, where, axes=3)
    for name, ids in (("truth", truth), ("estimate", estimate)):
        if ids.dtype != np.uint8:
            raise ValueError(f"{name} must hold uint8 ids of segments, got {ids.dtype}")
    if matching not in ("max", "hungarian"):
        raise ValueError(f"matching must be 'max' or 'hungarian', got {matching!r}")
    chosen = np.ones(truth.shape, bool) if where is None else where
    overlaps = _overlaps(truth[chosen], estimate[chosen])
    if not len(overlaps):
        return MaskScore(miou=float(overlaps.shape[1] == 0), recall=1.0)
    if matching == "max":
        best = overlaps.max(axis=1, initial=0.0)
    else:
        rows, columns = linear_sum_assignment(overlaps, maximize=True)
        best = np.zeros(len(overlaps))
        best[rows] = overlaps[rows, columns]
    found = best[best > threshold]
    return MaskScore(miou=float(found.mean()) if len(found) else 0.0, recall=len(found) / len(best))


def _overlaps(truth: UInt8[ndarray, "n"], estimate: UInt8[ndarray, "n"]) -> Float[ndarray, "a b"]:
    """Intersection over union of each segment of ``truth`` that occurs with each of ``estimate`` that does."""
    joint = np.bincount(truth.astype(np.int64) * 256 + estimate, minlength=256 * 256).reshape(256, 256)
    rows, columns = joint.sum(axis=1), joint.sum(axis=0)
    a, b = 1 + np.flatnonzero(rows[1:]), 1 + np.flatnonzero(columns[1:])
    shared = joint[np.ix_(a, b)]
    return shared / (rows[a][:, None] + columns[b][None] - shared)


def _scaled_error(truth: Real[ndarray, "n"], estimate: Real[ndarray, "n"]) -> float:
    a, b = truth.astype(np.float64), estimate.astype(np.float64)
    return float(np.sqrt(np.mean((a - b * (np.median(a) / np.median(b))) ** 2)))


def _check_frames(truth: ndarray, estimate: ndarray, where: ndarray | None) -> None:
    _check_shapes(truth, estimate, where, axes=4)
    for name, frames in (("truth", truth), ("estimate", estimate)):
        if frames.dtype != np.uint8 or frames.shape[-1] != 3:
            raise ValueError(f"{name} must be uint8 of t h w 3, got {frames.dtype} of shape {frames.shape}")


def _check_shapes(truth: ndarray, estimate: ndarray, where: ndarray | None, *, axes: int) -> None:
    if truth.shape != estimate.shape:
        raise ValueError(f"truth and estimate must have one shape, got {truth.shape} and {estimate.shape}")
    if truth.ndim != axes or truth.size == 0:
        raise ValueError(f"{axes} axes are needed, none of them empty, got shape {truth.shape}")
    if where is not None and (where.shape != truth.shape[:3] or where.dtype != np.bool_):
        raise ValueError(f"where must be bool of shape {truth.shape[:3]}, got {where.dtype} of shape {where.shape}")
