"""Annotations of cameras that stand side by side, brought to a clip's size as its frames are."""

import math
from collections.abc import Sequence

import numpy as np

from cosmos_sim.data.annotations import Annotations
from cosmos_sim.data.images import beside_sizes, fit_labels


def fit_annotations(annotations: Annotations, size: tuple[int, int]) -> Annotations:
    """What :func:`~cosmos_sim.data.images.fit` shows of each camera, of all of them side by side.

    Args:
        annotations: of each camera at its own size, from left to right.
        size: height and width of all together; the cameras' parts are as wide as :func:`fit_widths` says.
    """
    sizes = beside_sizes([(depth.shape[1], depth.shape[2]) for depth in annotations.depth.values()])
    ends = np.cumsum(fit_widths([width for _, width in sizes], sizes[0][0], size))[:-1]
    parts = []
    for labels in (annotations.depth, annotations.segments):
        whole = np.concatenate([fit_labels(x, to) for x, to in zip(labels.values(), sizes, strict=True)], axis=2)
        parts.append(dict(zip(labels, np.split(fit_labels(whole, size), ends, axis=2), strict=True)))
    return Annotations(parts[0], parts[1], annotations.names)


def fit_widths(widths: Sequence[int], height: int, size: tuple[int, int]) -> tuple[int, ...]:
    """How wide the parts of an image are after :func:`~cosmos_sim.data.images.fit` has brought it to ``size``."""
    whole = sum(widths)
    cover = math.ceil(max(size[0] / height, size[1] / whole) * whole)
    edges = np.cumsum([0, *widths]) * cover / whole - round((cover - size[1]) / 2)
    return tuple(np.diff(np.clip(np.rint(edges), 0, size[1]).astype(int)).tolist())
