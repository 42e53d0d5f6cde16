"""Does a learned world judge policies as the truth does?

Everywhere ``truth[i]`` and ``simulated[i]`` are the success rates of policy ``i`` in the simulator (or on the robot)
and in the learned world. A figure that the data do not define is ``None`` and says why; it is never a number made up.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import stats

Rates = Float[ndarray, "k"]

_EXACT_UP_TO = 8
_MONTE_CARLO = 10_000
_LUCK = 2_000


@dataclass(frozen=True)
class Figure:
    """One number, the interval around it where there is one, and what a reader must know of either."""

    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Agreement:
    """Everything that ``k`` policies, each run on both sides, say of a world as a judge of policies."""

    policies: int
    """``k``. Counts as evidence only if the policies were trained independently of each other."""
    episodes: int
    """Episodes a policy and side."""
    pearson: Figure
    drop_one: Figure
    spearman: Figure
    permutation: Figure
    mmrv: Figure
    mean_absolute_difference: Figure
    bias: Figure
    truth_spread: Figure
    lucky_pearson: Figure
    lucky_difference: Figure


def agreement(
    *, truth: Bool[ndarray, "k n"], simulated: Bool[ndarray, "k n"], confidence: float = 0.95, seed: int = 0
) -> Agreement:
    """All figures of agreement from outcomes: policy ``i`` from start ``j`` succeeded, or did not, on either side.

    Raises:
        ValueError: for unequal shapes, no outcomes, or outcomes that are not boolean.
    """
    truth, simulated = np.asarray(truth), np.asarray(simulated)
    if truth.shape != simulated.shape or truth.ndim != 2 or truth.size == 0:
        raise ValueError(f"outcomes must be two (k, n) arrays of one shape, got {truth.shape} and {simulated.shape}")
    if truth.dtype != np.bool_ or simulated.dtype != np.bool_:
        raise ValueError(f"outcomes must be boolean, got {truth.dtype} and {simulated.dtype}")
    rates, imagined = truth.mean(axis=1), simulated.mean(axis=1)
    lucky_pearson, lucky_difference = luck(truth=rates, episodes=truth.shape[1], confidence=confidence, seed=seed)
    return Agreement(
        policies=truth.shape[0],
        episodes=truth.shape[1],
        pearson=pearson(truth=rates, simulated=imagined, confidence=confidence),
        drop_one=drop_one(truth=rates, simulated=imagined),
        spearman=spearman(truth=rates, simulated=imagined),
        permutation=permutation(truth=rates, simulated=imagined, seed=seed),
        mmrv=mmrv_interval(truth=truth, simulated=simulated, confidence=confidence, seed=seed),
        mean_absolute_difference=Figure(float(np.mean(np.abs(imagined - rates)))),
        bias=Figure(float(np.mean(imagined - rates)), note="simulated minus true: above zero the world is too kind"),
        truth_spread=Figure(
            float(np.ptp(rates)),
            float(rates.min()),
            float(rates.max()),
            "lowest to highest true rate: correlation is easy where this is wide",
        ),
        lucky_pearson=lucky_pearson,
        lucky_difference=lucky_difference,
    )


def pearson(*, truth: Rates, simulated: Rates, confidence: float = 0.95) -> Figure:
    """Pearson's r with the Fisher-z interval ``tanh(atanh(r) +- z / sqrt(k - 3))``, which needs ``k >= 4``."""
    reason = _undefined(truth, simulated)
    if reason:
        return Figure(None, note=reason)
    r, k = _correlation(truth, simulated), len(truth)
    if k < 4:
        return Figure(r, note=f"k = {k}: the Fisher-z interval needs at least 4 policies")
    if abs(r) == 1:
        return Figure(r, note="every point lies on a line: the Fisher-z interval has no width and says nothing")
    half = float(stats.norm.ppf((1 + confidence) / 2)) / math.sqrt(k - 3)
    centre = math.atanh(r)
    note = f"k = {k}: the interval is very wide" if k < 10 else ""
    return Figure(r, math.tanh(centre - half), math.tanh(centre + half), note)


def drop_one(*, truth: Rates, simulated: Rates) -> Figure:
    """The lowest and highest Pearson r after leaving out each policy in turn; ``value`` is their difference."""
    truth, simulated = np.asarray(truth), np.asarray(simulated)
    reason = _undefined(truth, simulated)
    if reason:
        return Figure(None, note=reason)
    if len(truth) < 4:
        return Figure(None, note=f"k = {len(truth)}: leaving one out leaves 2 points, whose r is always 1 or -1")
    rest = [(np.delete(truth, i), np.delete(simulated, i)) for i in range(len(truth))]
    values = [_correlation(a, b) for a, b in rest if not _undefined(a, b)]
    left = len(rest) - len(values)
    if not values:
        return Figure(None, note="without any one policy a side no longer varies")
    note = f"undefined without {left} of the policies, which alone make a side vary" if left else ""
    return Figure(max(values) - min(values), min(values), max(values), note)


def spearman(*, truth: Rates, simulated: Rates) -> Figure:
    """Spearman's rho: Pearson's r of the ranks, ties given their mean rank."""
    reason = _undefined(truth, simulated)
    if reason:
        return Figure(None, note=reason)
    ties = len(set(np.asarray(truth).tolist())) < len(truth) or len(set(np.asarray(simulated).tolist())) < len(truth)
    rho = _correlation(stats.rankdata(truth), stats.rankdata(simulated))
    return Figure(rho, note="some rates are tied" if ties else "")


def permutation(*, truth: Rates, simulated: Rates, seed: int = 0) -> Figure:
    """One-sided p that r is this high or higher when policies are matched at random.

    All ``k!`` matchings are tried up to k = 8. Beyond, 10,000 are drawn and the observed one is counted among them, so
    that p is never zero (Phipson and Smyth, 2010).
    """
    truth, simulated = np.asarray(truth, dtype=np.float64), np.asarray(simulated, dtype=np.float64)
    reason = _undefined(truth, simulated)
    if reason:
        return Figure(None, note=reason)
    k = len(truth)
    exact = k <= _EXACT_UP_TO
    if exact:
        orders = np.array(list(itertools.permutations(range(k))))
    else:
        generator = np.random.default_rng(seed)
        orders = np.stack([generator.permutation(k) for _ in range(_MONTE_CARLO)])
    # With fixed marginals r grows with the sum of products alone; the slack forgives rounding, not order.
    products = simulated[orders] @ truth
    at_least = int(np.sum(products >= simulated @ truth - 1e-9))
    if exact:
        return Figure(
            at_least / len(orders), note=f"exact over {len(orders)} matchings, so never below {1 / len(orders):.2g}"
        )
    return Figure((at_least + 1) / (len(orders) + 1), note=f"Monte Carlo over {len(orders)} matchings")


def mmrv(*, truth: Rates, simulated: Rates) -> float:
    """Mean maximum rank violation (SIMPLER): how much true rate the world's ranking gets wrong, 0 at best, 1 at worst.

    ``mean_i max_j |R_i - R_j| [(S_i > S_j) != (R_i > R_j)]`` with ``R`` the truth and ``S`` the simulated rates. It is
    asymmetric in its arguments, and by the strict comparisons a simulated tie counts against the better policy alone.

    Raises:
        ValueError: for unequal lengths or no policy.
    """
    r, s = np.asarray(truth, dtype=np.float64), np.asarray(simulated, dtype=np.float64)
    if r.ndim != 1 or r.shape != s.shape or r.size == 0:
        raise ValueError(f"truth and simulated must be two lists of one length, got shapes {r.shape} and {s.shape}")
    violated = (s[:, None] > s[None, :]) != (r[:, None] > r[None, :])
    return float(np.mean(np.max(np.abs(r[:, None] - r[None, :]) * violated, axis=1)))


def mmrv_interval(
    *,
    truth: Bool[ndarray, "k n"],
    simulated: Bool[ndarray, "k n"],
    confidence: float = 0.95,
    draws: int = 2_000,
    seed: int = 0,
) -> Figure:
    """MMRV with a percentile bootstrap over start states.

    Starts, shared by all policies and both sides, are drawn with replacement, so pairing is kept and the policies stay
    as they are: the interval speaks of more episodes, not of other policies.
    """
    value = mmrv(truth=truth.mean(axis=1), simulated=simulated.mean(axis=1))
    k, n = truth.shape
    if k < 2:
        return Figure(None, note="a ranking needs at least 2 policies")
    if n < 2:
        return Figure(value, note="one episode a policy: nothing to resample")
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(draws):
        starts = generator.integers(n, size=n)
        values.append(mmrv(truth=truth[:, starts].mean(axis=1), simulated=simulated[:, starts].mean(axis=1)))
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Figure(value, float(low), float(high), "bootstrap over start states, policies as they are")


def luck(*, truth: Rates, episodes: int, confidence: float = 0.95, seed: int = 0) -> tuple[Figure, Figure]:
    """What luck alone leaves of Pearson's r and of the mean absolute difference of rates.

    Imagine a world without fault whose luck is its own: both sides draw ``episodes`` verdicts of each policy, at the
    measured true rates. The figures are the median and the range of ``confidence`` over such studies. Where luck is
    shared, from the same starts and seeds, a world without fault does better.
    """
    generator = np.random.default_rng(seed)
    sides = generator.binomial(episodes, np.asarray(truth), size=(_LUCK, 2, len(truth))) / episodes
    correlations = [_correlation(a, b) for a, b in sides if not _undefined(a, b)]
    differences = np.abs(sides[:, 0] - sides[:, 1]).mean(axis=1)

    def spread(values: Sequence[float] | ndarray) -> Figure:
        value, low, high = np.quantile(values, [0.5, (1 - confidence) / 2, (1 + confidence) / 2]).tolist()
        return Figure(
            value, low, high, f"of a faultless world with luck of its own: median and {100 * confidence:g}% of studies"
        )

    r = spread(correlations) if correlations else Figure(None, note=_undefined(*sides[0]))
    return r, spread(differences)


def _correlation(a: ndarray, b: ndarray) -> float:
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    x, y = x - x.mean(), y - y.mean()
    r = float(x @ y / math.sqrt(float(x @ x) * float(y @ y)))
    return math.copysign(1.0, r) if abs(r) > 1 - 1e-12 else r


def _undefined(truth: ndarray, simulated: ndarray) -> str:
    a, b = np.asarray(truth, dtype=np.float64), np.asarray(simulated, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"truth and simulated must be two lists of one length, got shapes {a.shape} and {b.shape}")
    if len(a) < 3:
        return f"k = {len(a)}: a correlation needs at least 3 policies"
    flat = [name for name, rates in (("true", a), ("simulated", b)) if np.ptp(rates) == 0]
    if flat:
        return f"all {' and all '.join(flat)} rates are equal: a correlation needs both sides to vary"
    return ""
