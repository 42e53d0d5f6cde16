"""What the scores of a good variant look like: limits set on real videos, never on generated ones.

A real video of the same motion in another look (the simulator's episodes rendered in other scenes, or a dataset's own
under other colours) is what a perfect generator would give. Limits are quantiles of its scores, so that they reject few
real videos, by a share that is chosen beforehand.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cosmos_sim.augmentation.checks import CHECKS, Better
from cosmos_sim.data.files import new_file

REJECTED = 0.05
"""Share of real videos that all checks together may reject."""


@dataclass(frozen=True)
class Limits:
    """The worst score of each check that a variant may have.

    Raises:
        ValueError: a limit of something that is no check, or is not finite.
    """

    worst: Mapping[str, float]
    """By ``check`` or ``camera.check``, as :func:`~cosmos_sim.augmentation.checks.score_variant` names scores."""
    origin: Mapping[str, Any] = field(default_factory=dict)
    """What real videos they were set on."""

    def __post_init__(self) -> None:
        for name, value in self.worst.items():
            better(name)
            if not np.isfinite(value):
                raise ValueError(f"the limit of {name!r} must be finite, got {value}")

    def faults(self, scores: Mapping[str, float]) -> list[str]:
        """Which checks a variant fails: ``"agentview.mask_iou 0.31, at least 0.62"``."""
        found = []
        for name, limit in self.worst.items():
            score = scores.get(name)
            if score is None:
                continue
            least = better(name) == "higher"
            if not (score >= limit if least else score <= limit):
                found.append(f"{name} {score:.3g}, at {'least' if least else 'most'} {limit:.3g}")
        return found


def set_limits(
    scores: Sequence[Mapping[str, float]], *, rejected: float = REJECTED, origin: Mapping[str, Any] | None = None
) -> Limits:
    """Limits that all ``scores``, of real videos, keep but for a share ``rejected``, divided among the checks.

    Each limit is the quantile that so many of the scores are worse than, rounded down to a score that occurred.

    Raises:
        ValueError: no scores, or a share that is not between 0 and 1.
    """
    if not 0 <= rejected < 1:
        raise ValueError(f"the share of real videos to reject must be from 0 to below 1, got {rejected}")
    names = sorted({name for one in scores for name in one})
    if not names:
        raise ValueError("limits need the scores of at least one real video")
    worst = {}
    for name in names:
        values = np.array([one[name] for one in scores if name in one])
        signed = values if better(name) == "higher" else -values
        limit = float(np.quantile(signed, rejected / len(names), method="lower"))
        worst[name] = limit if better(name) == "higher" else -limit
    return Limits(worst, {"videos": len(scores), "rejected": rejected, **(origin or {})})


def widened(limits: Limits, broken: Mapping[str, Sequence[Mapping[str, float]]]) -> Limits:
    """Limits half of the way from those of real videos to the scores of videos that are broken.

    A generator's small faults cost more than a real video ever shows, and break no label.

    Args:
        limits: set on real videos.
        broken: by check, the scores of real videos that were broken in the way that it is there to find. A limit goes
            half of the way to their median; of a check without any, or that does not tell them apart, it stays.
    """
    worst = {}
    for name, limit in limits.worst.items():
        sign = 1 if better(name) == "higher" else -1
        scores = [sign * one[name] for one in broken.get(name.rpartition(".")[2], ()) if name in one]
        there = min(float(np.median(scores)), sign * limit) if scores else sign * limit
        worst[name] = sign * (sign * limit + there) / 2
    return Limits(worst, {**limits.origin, "widened": "half of the way to videos broken on purpose"})


def better(name: str) -> Better:
    """Which way a score is better; :class:`ValueError` if ``name`` is that of no check."""
    check = name.rpartition(".")[2]
    if check not in CHECKS:
        raise ValueError(f"unknown check {name!r}; there are {', '.join(CHECKS)}")
    return CHECKS[check]


def read_limits(file: Path) -> Limits:
    """Limits that :func:`write_limits` wrote.

    Raises:
        ValueError: naming the file, if it is missing or holds none.
    """
    try:
        return limits_from(json.loads(file.read_text()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{str(file)!r} holds no limits of checks: {error}") from error


def write_limits(limits: Limits, file: Path) -> None:
    """Keep ``limits`` as JSON."""
    with new_file(file) as partial:
        partial.write_text(json.dumps(limits_json(limits), indent=1) + "\n")


def limits_from(raw: Mapping[str, Any]) -> Limits:
    """What :func:`limits_json` gave."""
    return Limits({str(name): float(value) for name, value in raw["worst"].items()}, raw["origin"])


def limits_json(limits: Limits) -> dict[str, Any]:
    """Limits as JSON holds them."""
    return {"worst": dict(limits.worst), "origin": dict(limits.origin)}
