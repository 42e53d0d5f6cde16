"""A probability against the truth: how well it sorts yes from no, and whether it means what it says."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import stats

from cosmos_sim.metrics.agreement import Figure
from cosmos_sim.metrics.confusion import Confusion, confusion
from cosmos_sim.metrics.intervals import Interval, clopper_pearson


@dataclass(frozen=True)
class ReliabilityBin:
    """The cases whose probability lies in ``[low, high)`` (in the last bin ``[low, high]``)."""

    low: float
    high: float
    count: int
    probability: float
    """Their mean probability."""
    rate: float
    """The share of them that is true: equal to ``probability`` for a calibrated judge."""
    interval: Interval
    """Of ``rate``: Clopper and Pearson's."""


@dataclass(frozen=True)
class Calibration:
    """All figures of ``n`` probabilities against the truth."""

    table: Confusion
    """Of the verdicts "at least the threshold"."""
    auc: Figure
    brier: float
    brier_of_rate: float
    """Brier score of always saying the rate of what is true: a judge above it would do better not to look."""
    bins: tuple[ReliabilityBin, ...]
    """The reliability curve: bins without cases are left out."""

    @property
    def error(self) -> float:
        """Expected calibration error ``sum_b n_b / n |rate_b - probability_b|`` (Naeini et al., 2015)."""
        count = sum(part.count for part in self.bins)
        return math.fsum(part.count * abs(part.rate - part.probability) for part in self.bins) / count


def calibration(
    *,
    truth: Bool[ndarray, "n"],
    probability: Float[ndarray, "n"],
    threshold: float = 0.5,
    bins: int = 10,
    confidence: float = 0.95,
) -> Calibration:
    """Every figure of ``probability``, the judge's that each case is true.

    Raises:
        ValueError: no cases, arrays of unequal length, a truth that is not boolean, a probability or threshold outside
            of [0, 1], or fewer than one bin.
    """
    truth, probability = _checked(truth, probability)
    if probability.min() < 0 or probability.max() > 1:
        worst = probability[np.argmax(np.abs(probability - 0.5))]
        raise ValueError(f"probabilities must lie in [0, 1], got {worst}")
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must lie in [0, 1], got {threshold}")
    rate = float(truth.mean())
    return Calibration(
        table=confusion(truth=truth, verdict=probability >= threshold),
        auc=roc_auc(truth=truth, score=probability, confidence=confidence),
        brier=float(np.mean((probability - truth) ** 2)),
        brier_of_rate=rate * (1 - rate),
        bins=_reliability(truth, probability, bins, confidence),
    )


def roc_auc(*, truth: Bool[ndarray, "n"], score: Float[ndarray, "n"], confidence: float = 0.95) -> Figure:
    """Area under the ROC curve: the chance that a true case scores above an untrue one, ties counted as half.

    With ``m`` true and ``n`` untrue cases it is ``U / (m n)`` of Mann and Whitney. The variance is that of DeLong,
    DeLong and Clarke-Pearson (1988) by mid-ranks (Sun and Xu, 2014), for cases that are independent; the interval is
    symmetric on the logit scale, so that it stays between 0 and 1. Scores may be of any scale.

    Raises:
        ValueError: no cases, arrays of unequal length, a truth that is not boolean, a score that is not a number.
    """
    truth, score = _checked(truth, score)
    positive, negative = score[truth], score[~truth]
    m, n = len(positive), len(negative)
    if not m or not n:
        return Figure(None, note=f"all {m + n} cases are {'true' if m else 'untrue'}: there is nothing to tell apart")
    ranks = stats.rankdata(np.concatenate([positive, negative]))
    above = (ranks[:m] - stats.rankdata(positive)) / n  # share of untrue cases below each true one
    below = 1 - (ranks[m:] - stats.rankdata(negative)) / m  # share of true cases above each untrue one
    area = float(above.mean())
    if m < 2 or n < 2:
        return Figure(area, note="the interval needs two cases of each class")
    deviation = math.sqrt(float(above.var(ddof=1)) / m + float(below.var(ddof=1)) / n)
    if deviation == 0:
        return Figure(area, note="every pair of cases falls out alike: the interval has no width and says nothing")
    half = float(stats.norm.ppf((1 + confidence) / 2)) * deviation / (area * (1 - area))
    low, high = (1 / (1 + math.exp(-(math.log(area / (1 - area)) + side * half))) for side in (-1, 1))
    return Figure(area, low, high, f"{m} true and {n} untrue cases; DeLong's interval on the logit scale")


def _reliability(truth: ndarray, probability: ndarray, bins: int, confidence: float) -> tuple[ReliabilityBin, ...]:
    if bins < 1:
        raise ValueError(f"a reliability curve needs a bin or more, got {bins}")
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, probability, side="right") - 1, 0, bins - 1)
    parts = []
    for k in range(bins):
        inside = place == k
        if count := int(inside.sum()):
            true = int(truth[inside].sum())
            parts.append(
                ReliabilityBin(
                    low=float(edges[k]),
                    high=float(edges[k + 1]),
                    count=count,
                    probability=float(probability[inside].mean()),
                    rate=true / count,
                    interval=clopper_pearson(true, count, confidence=confidence),
                )
            )
    return tuple(parts)


def _checked(truth: ndarray, score: ndarray) -> tuple[ndarray, ndarray]:
    truth, score = np.asarray(truth), np.asarray(score, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != score.shape or not len(truth):
        raise ValueError(f"truth and score must be two lists of one length, got {truth.shape} and {score.shape}")
    if truth.dtype != np.bool_:
        raise ValueError(f"truth must be boolean, got {truth.dtype}")
    if np.isnan(score).any():
        raise ValueError(f"score {int(np.argmax(np.isnan(score)))} is not a number")
    return truth, score
