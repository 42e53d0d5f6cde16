"""What is wrong with a dream, in numbers: the lower, the better. Limits are set on real episodes.

None of the checks sees the truth but ``replay``. They ask whether the inverse dynamics was sure of what it read,
whether the actions are such as people and scripts give, whether a world that follows actions imagines the same under
them (cycle consistency), and whether that world takes the task to be done in the end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from numpy import ndarray

from cosmos_sim.world_model.inverse_dynamics import ActionReading

CHECKS: dict[str, str] = {
    "deviation": "spread of the draws of the actions, root mean square, as a share of their range",
    "jerk": "root mean square of the actions' second differences, in deviations of the dataset's actions",
    "saturation": "share of the actions that lie at an end of their range",
    "cycle": "difference between the dream and what a world imagines under its actions, in terms of the dream's change",
    "failure": "1 minus the probability, by that world's success head, that the task is solved in the end",
    "replay": "1 if the actions fail in the simulator, 0 if they solve the task",
    "duplicate": "how near an accepted dream of the same instruction has its actions: 1 for the same, 0 for unlike",
}
"""The checks, and what each measures."""

REJECTED = 0.05
"""Share of real episodes that all limits together may reject."""
SLACK = 2.0
"""Times the limits of real episodes that a dream may have: what is imagined is never as good."""
DUPLICATE = 0.9
_LAST = 3
"""Frames at the end by which success is judged."""
_LEAST_CHANGE = 2.0
"""Levels that a dream changes by, at the least, as far as the cycle is concerned: one that stands still is none."""


@dataclass(frozen=True)
class Limits:
    """The worst score of each check that a dream may have; a check without one is told and not held against it.

    Raises:
        ValueError: a limit of something that is no check, or is not finite.
    """

    worst: Mapping[str, float]
    origin: Mapping[str, Any] = field(default_factory=dict)
    """What they were set on: ``real`` has the scores of the real episodes."""

    def __post_init__(self) -> None:
        for name, value in self.worst.items():
            if name not in CHECKS:
                raise ValueError(f"unknown check {name!r}; there are {', '.join(CHECKS)}")
            if not np.isfinite(value):
                raise ValueError(f"the limit of {name!r} must be finite, got {value}")

    def faults(self, scores: Mapping[str, float]) -> list[str]:
        """Which checks a dream fails: ``"cycle 1.31, at most 0.62"``."""
        return [
            f"{name} {scores[name]:.3g}, at most {limit:.3g}"
            for name, limit in self.worst.items()
            if name in scores and not scores[name] <= limit
        ]

    def as_json(self) -> dict[str, Any]:
        return {"worst": dict(self.worst), "origin": dict(self.origin)}


def set_limits(
    scores: Sequence[Mapping[str, float]],
    *,
    rejected: float = REJECTED,
    slack: float = SLACK,
    given: Mapping[str, float] | None = None,
) -> Limits:
    """Limits ``slack`` times those that real episodes keep but for a share ``rejected``, divided among the checks.

    What the truth decides (``replay``, at most .5) and what compares dreams (``duplicate``) has limits of its own.

    Args:
        scores: of real episodes.
        given: limits that are set otherwise.

    Raises:
        ValueError: no scores.
    """
    if not scores:
        raise ValueError("limits need the scores of at least one real episode")
    own = {"replay": 0.5, "duplicate": DUPLICATE}
    names = [name for name in CHECKS if name not in own and all(name in one for one in scores)]
    worst = {
        name: slack * float(np.quantile([one[name] for one in scores], 1 - rejected / len(names), method="higher"))
        for name in names
    }
    if "failure" in worst:
        worst["failure"] = min(worst["failure"], 0.5)
    origin = {"real": [dict(one) for one in scores], "rejected": rejected, "slack": slack, "given": sorted(given or {})}
    return Limits(worst | own | dict(given or {}), origin)


def action_scores(
    reading: ActionReading, *, binary: Bool[ndarray, "a"], low: ndarray, high: ndarray, spread: ndarray
) -> dict[str, float]:
    """``deviation``, ``jerk`` and ``saturation`` of what was read, over the dimensions that are not binary.

    Args:
        reading: at least three actions.
        low, high, spread: range and standard deviation of the dataset's actions, of ``a`` each.
    """
    free = ~np.asarray(binary)
    if not free.any():
        return {}
    actions = reading.action[:, free]
    scale = np.maximum(spread[free], 1e-6)
    span = np.maximum(high - low, 1e-6)[free]
    ends = np.minimum(actions - low[free], high[free] - actions) < 0.005 * span
    return {
        "deviation": _rms(reading.deviation[:, free]),
        "jerk": _rms(np.diff(actions, n=2, axis=0) / scale),
        "saturation": float(ends.mean()),
    }


def cycle_score(
    dream: Mapping[str, UInt8[ndarray, "t h w 3"]], rolled: Mapping[str, UInt8[ndarray, "t h w 3"]]
) -> float:
    """How far a world under the dream's actions comes from the dream, as a share of how far the dream itself comes.

    The root mean square difference of all pixels of all cameras, over the same of the dream and its first frame: 0
    where both agree, about 1 for a world that stays at the start.

    Raises:
        ValueError: other cameras or shapes.
    """
    if {camera: video.shape for camera, video in dream.items()} != {c: video.shape for c, video in rolled.items()}:
        raise ValueError(f"a dream of {sorted(dream)} and a roll of {sorted(rolled)} do not fit each other")
    apart = [dream[camera].astype(np.float32) - rolled[camera] for camera in dream]
    moved = [video.astype(np.float32) - video[:1] for video in dream.values()]
    return _rms(*apart) / max(_rms(*moved), _LEAST_CHANGE)


def failure_score(success: Float32[ndarray, "t"]) -> float:
    """1 minus the median probability of success over the last frames."""
    return 1 - float(np.median(success[-_LAST:]))


def likeness(a: Float32[ndarray, "t a"], b: Float32[ndarray, "t a"], *, spread: ndarray) -> float:
    """How alike two sequences of actions are: ``exp(-d)`` of their root mean square distance in deviations."""
    return float(np.exp(-_rms((a - b) / np.maximum(spread, 1e-6))))


def _rms(*values: ndarray) -> float:
    squares = sum(float(np.square(part, dtype=np.float64).sum()) for part in values)
    return float(np.sqrt(squares / sum(part.size for part in values)))
