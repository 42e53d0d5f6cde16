"""The statistics that a LeRobotDataset v3 keeps of each episode and of all: LeRobot's definitions, exact where it
approximates (quantiles of 8-bit images come from their histogram of 256 levels).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

Statistics = Mapping[str, Mapping[str, Any]]
"""Feature to the name of a statistic (``min``, ``max``, ``mean``, ``std``, ``count``, ``q01`` ...) to nested lists."""


def image_statistics(frames: UInt8[ndarray, "t h w 3"], names: Sequence[str]) -> dict[str, Any]:
    """The statistics ``names`` (all but ``count``) of each colour, of levels from 0 to 1, shaped ``3 1 1``."""
    levels = np.arange(256) / 255
    found = []
    for channel in range(3):
        counts = np.bincount(frames[..., channel].ravel(), minlength=256)
        found.append(_describe(levels, counts, names))
    return {name: [[[one[name]]] for one in found] for name in names}


def number_statistics(values: ndarray, names: Sequence[str]) -> dict[str, Any]:
    """The statistics ``names`` of ``t`` integers, shaped ``1``, with ``count`` if it is asked for."""
    levels, counts = np.unique(values, return_counts=True)
    described = _describe(levels.astype(np.float64), counts, [name for name in names if name != "count"])
    return {name: [len(values) if name == "count" else described[name]] for name in names}


def merge_statistics(parts: Sequence[Statistics]) -> dict[str, dict[str, Any]]:
    """The statistics of all episodes from those of each, as LeRobot merges them.

    Means are weighted by counts, variances pooled with those between the episodes' means, and quantiles averaged by
    counts.
    """
    merged: dict[str, dict[str, Any]] = {}
    for feature in dict.fromkeys(name for part in parts for name in part):
        own = [part[feature] for part in parts if feature in part]
        stacked = {name: np.stack([np.asarray(one[name], np.float64) for one in own]) for name in own[0]}
        mean, total = stacked["mean"], np.stack([np.asarray(one["count"]) for one in own]).sum(axis=0)
        weight = stacked["count"].reshape(-1, *[1] * (mean.ndim - 1)) / total[0]
        centre = (mean * weight).sum(axis=0)
        variance = ((stacked["std"] ** 2 + (mean - centre) ** 2) * weight).sum(axis=0)
        values = {"min": stacked["min"].min(axis=0), "max": stacked["max"].max(axis=0), "mean": centre}
        values |= {"std": np.sqrt(variance), "count": total}
        values |= {name: (stacked[name] * weight).sum(axis=0) for name in stacked if name not in values}
        merged[feature] = {name: value.tolist() for name, value in values.items()}
    return merged


def _describe(levels: ndarray, counts: ndarray, names: Sequence[str]) -> dict[str, float]:
    """Statistics of values that are ``levels``, in ascending order, each ``counts`` times."""
    share = counts / counts.sum()
    mean = float(levels @ share)
    there, reached = np.flatnonzero(counts), np.cumsum(share)
    known = {
        "min": float(levels[there[0]]),
        "max": float(levels[there[-1]]),
        "mean": mean,
        "std": float(np.sqrt((levels - mean) ** 2 @ share)),
    }
    for name in names:
        if name not in known:
            place = np.searchsorted(reached, int(name.removeprefix("q")) / 100 - 1e-12)
            known[name] = float(levels[min(int(place), len(levels) - 1)])
    return {name: known[name] for name in names}
