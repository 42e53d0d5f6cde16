"""Intervals on a proportion and on a mean, and the exact test for two proportions measured on the same trials."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, isfinite

from scipy import stats


@dataclass(frozen=True)
class Interval:
    """A closed interval ``[low, high]``."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def clopper_pearson(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """The exact interval on a proportion, which covers at least ``confidence`` whatever the true rate.

    With ``x`` successes in ``n`` trials and ``alpha = 1 - confidence`` the bounds are the quantiles
    ``Beta(alpha/2; x, n - x + 1)`` and ``Beta(1 - alpha/2; x + 1, n - x)`` (Clopper and Pearson, 1934).

    Raises:
        ValueError: unless ``0 <= successes <= trials``, ``trials >= 1`` and ``0 < confidence < 1``.
    """
    _check(successes, trials, confidence)
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else float(stats.beta.ppf(tail, successes, trials - successes + 1))
    high = 1.0 if successes == trials else float(stats.beta.ppf(1 - tail, successes + 1, trials - successes))
    return Interval(low, high)


def wilson(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """The score interval on a proportion: shorter than Clopper and Pearson's, right on average over true rates.

    ``(p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)`` (Wilson, 1927).

    Raises:
        ValueError: unless ``0 <= successes <= trials``, ``trials >= 1`` and ``0 < confidence < 1``.
    """
    _check(successes, trials, confidence)
    z = float(stats.norm.ppf((1 + confidence) / 2))
    rate = successes / trials
    centre = rate + z**2 / (2 * trials)
    half = z * (rate * (1 - rate) / trials + z**2 / (4 * trials**2)) ** 0.5
    scale = 1 + z**2 / trials
    return Interval(max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale))


def mean_interval(values: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Student's interval on a mean: ``m +- t s / sqrt(n)``, t the quantile with ``n - 1`` degrees of freedom.

    Raises:
        ValueError: fewer than two values, one that is not finite, or ``confidence`` outside of (0, 1).
    """
    n = len(values)
    if n < 2 or not all(isfinite(value) for value in values):
        raise ValueError(f"an interval on a mean needs two values or more, all finite, got {list(values)}")
    _check_confidence(confidence)
    mean = fsum(values) / n
    deviation = (fsum((value - mean) ** 2 for value in values) / (n - 1)) ** 0.5
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * deviation / n**0.5
    return Interval(mean - half, mean + half)


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided exact p that two verdicts on the same trials succeed equally often (McNemar, 1947).

    Takes the discordant counts: trials that only the first, and only the second, succeeded in. Given their sum, either
    is ``Binomial(sum, 1/2)`` when the rates are equal. Without any discordant trial nothing speaks against it: 1.

    Raises:
        ValueError: for a negative count.
    """
    for count in (only_first, only_second):
        if count < 0:
            raise ValueError(f"a count of trials cannot be negative, got {count}")
    discordant = only_first + only_second
    return 1.0 if discordant == 0 else float(stats.binomtest(only_first, discordant, 0.5).pvalue)


def _check(successes: int, trials: int, confidence: float) -> None:
    if trials < 1:
        raise ValueError(f"a rate needs at least one trial, got {trials}")
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must lie between 0 and the {trials} trials, got {successes}")
    _check_confidence(confidence)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie strictly between 0 and 1, got {confidence}")
