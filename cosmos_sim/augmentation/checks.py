"""Whether a variant still shows what its labels say: the robot where it was, moving as it moved, in one scene.

An episode's actions and states are kept while its pictures change. That is right only if the pictures tell of the same
motion, so each variant is compared with its source, camera by camera, and views of one moment with each other.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8
from numpy import ndarray

from cosmos_sim.augmentation.annotators import BACKGROUND
from cosmos_sim.data.segments import Segments
from cosmos_sim.metrics.control import edge_f1

Better = Literal["higher", "lower"]

CHECKS: dict[str, Better] = {
    "mask_iou": "higher",
    "edge_f1": "higher",
    "object_iou": "higher",
    "motion": "higher",
    "flicker": "lower",
    "view_colour": "lower",
    "actions": "lower",
}
"""The checks, and which way is better. Those of a camera are written ``agentview.mask_iou``."""

ROBOT = "robot"

InverseDynamics = Callable[[Mapping[str, UInt8[ndarray, "t h w 3"]]], Float32[ndarray, "t a"]]
"""Reads the action before which each frame was taken off the cameras' frames; the last row may be anything."""

_STILL = 6
"""Levels by which noise may change a pixel that shows nothing moving."""

_REACH = 5
"""Pixels around what moves, or around the robot, that are taken to belong to it."""

_BLOCK = 8
_FEWEST = 12
"""Pixels from which on the colour of an object is known."""


@dataclass(frozen=True)
class View:
    """What one camera shows, and what of it is what."""

    frames: UInt8[ndarray, "t h w 3"]
    segments: Segments
    """With :data:`ROBOT` among the names."""


def score_variant(
    source: Mapping[str, View],
    variant: Mapping[str, View],
    *,
    actions: Float32[ndarray, "t a"] | None = None,
    inverse_dynamics: InverseDynamics | None = None,
) -> dict[str, float]:
    """The score of every check that can be made, by ``check`` or ``camera.check``; see the functions of each.

    Raises:
        ValueError: other cameras or sizes than the source's, or an ``inverse_dynamics`` without ``actions``.
    """
    if set(source) != set(variant):
        raise ValueError(f"the variant shows {', '.join(variant)}, its source {', '.join(source)}")
    scores: dict[str, float | None] = {}
    for camera, before in source.items():
        after = variant[camera]
        if before.frames.shape != after.frames.shape:
            raise ValueError(f"camera {camera!r} has frames {after.frames.shape}, its source {before.frames.shape}")
        robot = before.segments.mask(ROBOT)
        scores[f"{camera}.mask_iou"] = mask_iou(robot, after.segments.mask(ROBOT))
        scores[f"{camera}.edge_f1"] = robot_edges(before.frames, after.frames, robot)
        scores[f"{camera}.object_iou"] = object_iou(before.segments, after.segments)
        scores[f"{camera}.motion"] = motion_agreement(before.frames, after.frames)
        scores[f"{camera}.flicker"] = flicker(before.frames, after.frames, robot)
    scores["view_colour"] = view_colour(variant)
    if inverse_dynamics is not None:
        if actions is None:
            raise ValueError("inverse_dynamics needs the episode's actions")
        read = inverse_dynamics({camera: view.frames for camera, view in variant.items()})
        scores["actions"] = action_error(actions, read)
    return {name: value for name, value in scores.items() if value is not None}


def mask_iou(truth: Bool[ndarray, "t h w"], estimate: Bool[ndarray, "t h w"]) -> float | None:
    """Intersection over union of the robot's pixels, the mean of the worst tenth of the frames that show it.

    ``None`` where no frame of the source does.
    """
    shown = truth.any(axis=(1, 2))
    if not shown.any():
        return None
    shared = (truth & estimate).sum(axis=(1, 2))[shown]
    either = (truth | estimate).sum(axis=(1, 2))[shown]
    worst = np.sort(shared / either)[: max(1, len(shared) // 10)]
    return float(worst.mean())


def robot_edges(
    source: UInt8[ndarray, "t h w 3"], variant: UInt8[ndarray, "t h w 3"], robot: Bool[ndarray, "t h w"]
) -> float | None:
    """F1 of Canny's edges at the robot's pixels in the source, outline included; ``None`` if it has none there."""
    where = _grown(robot, 1)
    score = edge_f1(truth=source, estimate=variant, where=where)
    if score.f1 == 0 and not _edges(source)[where].any():
        return None
    return score.f1


def object_iou(truth: Segments, estimate: Segments) -> float | None:
    """Intersection over union, over the whole video, of the object that is found again worst.

    Objects are the named segments but the robot and the background that the source shows in 12 pixels a frame or more;
    ``None`` where it shows none.
    """
    found = []
    for name in _objects(truth):
        there = truth.mask(name)
        if there.sum() >= _FEWEST * len(there):
            again = estimate.mask(name)
            found.append(float((there & again).sum() / (there | again).sum()))
    return min(found, default=None)


def motion_agreement(source: UInt8[ndarray, "t h w 3"], variant: UInt8[ndarray, "t h w 3"]) -> float | None:
    """Correlation, over all moments and blocks of 8 x 8 pixels, of how much the two videos change.

    Pearson's, of the square roots of the mean absolute changes, so that contrast counts little. 0 for a variant that
    stands still; ``None`` for a source that does.
    """
    a, b = (np.sqrt(_block_means(np.abs(_changes(frames)).mean(axis=3))).ravel() for frames in (source, variant))
    if len(a) < 2 or a.std() < 1e-6:
        return None
    return 0.0 if b.std() < 1e-6 else float(np.corrcoef(a, b)[0, 1])


def flicker(
    source: UInt8[ndarray, "t h w 3"], variant: UInt8[ndarray, "t h w 3"], robot: Bool[ndarray, "t h w"]
) -> float | None:
    """Mean absolute change, in levels, from frame to frame where nothing moves in the source and the robot is not.

    ``None`` where less than a hundredth of the source stands still, as under a camera that moves.
    """
    moves = np.abs(_changes(source)).max(axis=3) > _STILL
    still = ~(_grown(moves, _REACH) | _grown(robot[1:] | robot[:-1], _REACH))
    if still.mean() < 0.01:
        return None
    return float(np.abs(_changes(variant)).mean(axis=3)[still].mean())


def view_colour(views: Mapping[str, View]) -> float | None:
    """The largest distance between the colours that an object has in two views of one moment.

    Of every named segment but the robot, the median colour of its pixels in each frame that shows 12 of them or more;
    the distance in the plane a, b of CIELAB, its mean over the moments that both views show. ``None`` where no
    object is seen twice.
    """
    distances = []
    cameras = list(views)
    for name in _objects(views[cameras[0]].segments):
        colours = [_colours(views[camera], name) for camera in cameras if name in views[camera].segments.names]
        for k, a in enumerate(colours):
            for b in colours[k + 1 :]:
                both = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
                if both.any():
                    distances.append(float(np.linalg.norm(a[both] - b[both], axis=1).mean()))
    return max(distances, default=None)


def action_error(actions: Float32[ndarray, "t a"], read: Float32[ndarray, "t a"]) -> float:
    """Root mean square of the difference, each dimension in units of its deviation over the episode.

    The last action is not counted: no frame shows what came of it.

    Raises:
        ValueError: unequal shapes.
    """
    if actions.shape != read.shape:
        raise ValueError(f"the inverse dynamics read actions {read.shape}, the episode has {actions.shape}")
    scale = np.maximum(actions.std(axis=0), 1e-3)
    return float(np.sqrt(np.mean(((read - actions)[:-1] / scale) ** 2)))


def _objects(segments: Segments) -> list[str]:
    return [name for name in segments.names if name not in (ROBOT, BACKGROUND)]


def _changes(frames: UInt8[ndarray, "t h w 3"]) -> Float32[ndarray, "t-1 h w 3"]:
    return np.diff(frames.astype(np.float32), axis=0)


def _edges(frames: UInt8[ndarray, "t h w 3"]) -> Bool[ndarray, "t h w"]:
    return np.stack([cv2.Canny(np.ascontiguousarray(image), 100, 200) > 0 for image in frames])


def _grown(masks: Bool[ndarray, "t h w"], pixels: int) -> Bool[ndarray, "t h w"]:
    kernel = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    grown = [cv2.dilate(mask.astype(np.uint8), kernel) for mask in masks]
    return np.stack(grown).astype(bool) if grown else masks


def _block_means(values: Float32[ndarray, "t h w"]) -> Float32[ndarray, "t i j"]:
    size = (max(1, values.shape[2] // _BLOCK), max(1, values.shape[1] // _BLOCK))
    return np.stack([cv2.resize(value, size, interpolation=cv2.INTER_AREA) for value in values])


def _colours(view: View, name: str) -> Float32[ndarray, "t 2"]:
    """The median a, b of an object in each frame; NaN where too little of it is seen."""
    mask = view.segments.mask(name)
    found = np.full((len(mask), 2), np.nan, np.float32)
    for k, (image, pixels) in enumerate(zip(view.frames, mask, strict=True)):
        if pixels.sum() >= _FEWEST:
            lab = cv2.cvtColor(image[pixels][None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
            found[k] = np.median(lab[0, :, 1:], axis=0)
    return found
