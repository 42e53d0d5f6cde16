import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from cosmos_sim.metrics.agreement import agreement, drop_one, luck, mmrv, mmrv_interval, pearson, permutation, spearman

TRUTH = np.array([0.05, 0.3, 0.45, 0.8, 0.95])
SIMULATED = np.array([0.2, 0.15, 0.6, 0.85, 0.9])


def test_pearson_and_interval_equal_scipy():
    ours, theirs = pearson(truth=TRUTH, simulated=SIMULATED), stats.pearsonr(TRUTH, SIMULATED)
    assert ours.value == pytest.approx(theirs.statistic)
    interval = theirs.confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high))
    assert "wide" in ours.note


def test_spearman_equals_scipy_with_ties():
    tied = np.array([0.2, 0.2, 0.6, 0.9, 0.85])
    assert spearman(truth=TRUTH, simulated=tied).value == pytest.approx(stats.spearmanr(TRUTH, tied).statistic)
    assert "tied" in spearman(truth=TRUTH, simulated=tied).note


def test_drop_one_by_hand():
    values = [stats.pearsonr(np.delete(TRUTH, i), np.delete(SIMULATED, i)).statistic for i in range(5)]
    figure = drop_one(truth=TRUTH, simulated=SIMULATED)
    assert (figure.low, figure.high) == pytest.approx((min(values), max(values)))
    assert figure.value == pytest.approx(max(values) - min(values))


def test_drop_one_when_a_single_policy_makes_a_side_vary():
    figure = drop_one(truth=np.array([0.0, 0.0, 0.0, 1.0]), simulated=np.array([0.1, 0.2, 0.3, 0.9]))
    assert figure.value is not None
    assert "1 of the policies" in figure.note


def test_permutation_is_exact_when_small():
    theirs = stats.permutation_test(
        (SIMULATED,), lambda s: stats.pearsonr(s, TRUTH).statistic, permutation_type="pairings", alternative="greater"
    )
    assert permutation(truth=TRUTH, simulated=SIMULATED).value == pytest.approx(theirs.pvalue)
    assert permutation(truth=TRUTH[:3], simulated=TRUTH[:3]).value == pytest.approx(1 / 6)


def test_permutation_by_monte_carlo_is_near_the_parametric_p():
    generator = np.random.default_rng(1)
    truth = generator.uniform(size=14)
    simulated = truth + generator.normal(0, 0.5, size=14)
    figure = permutation(truth=truth, simulated=simulated)
    assert figure.value == pytest.approx(stats.pearsonr(truth, simulated, alternative="greater").pvalue, abs=0.02)
    assert "Monte Carlo" in figure.note
    assert permutation(truth=truth, simulated=truth).value > 0


def reference_mmrv(real, sim):
    """SIMPLER's formula written as its double loop."""
    worst = []
    for i in range(len(real)):
        violations = [abs(real[i] - real[j]) for j in range(len(real)) if (sim[i] > sim[j]) != (real[i] > real[j])]
        worst.append(max(violations, default=0.0))
    return sum(worst) / len(worst)


def test_mmrv_equals_the_double_loop():
    generator = np.random.default_rng(0)
    for k in (1, 2, 5, 9):
        truth, simulated = generator.integers(0, 5, size=(2, k)) / 4
        assert mmrv(truth=truth, simulated=simulated) == pytest.approx(reference_mmrv(truth, simulated))


def test_mmrv_is_zero_for_any_monotone_judge_and_knows_its_truth_side():
    assert all(a < b for a, b in pairwise(TRUTH))
    assert mmrv(truth=TRUTH, simulated=TRUTH**3) == 0
    truth, simulated = np.array([0.1, 0.9]), np.array([0.6, 0.5])
    assert mmrv(truth=truth, simulated=simulated) == pytest.approx(0.8)
    assert mmrv(truth=simulated, simulated=truth) == pytest.approx(0.1)


def test_a_simulated_tie_counts_against_the_better_policy_alone():
    assert mmrv(truth=np.array([0.2, 0.7]), simulated=np.array([0.5, 0.5])) == pytest.approx(0.25)
    assert mmrv(truth=np.array([0.5, 0.5]), simulated=np.array([0.2, 0.7])) == 0


def test_mmrv_interval_brackets_and_repeats():
    generator = np.random.default_rng(5)
    truth = generator.uniform(size=(3, 40)) < np.array([[0.2], [0.5], [0.55]])
    simulated = generator.uniform(size=(3, 40)) < np.array([[0.2], [0.55], [0.5]])
    first = mmrv_interval(truth=truth, simulated=simulated, seed=2)
    assert first == mmrv_interval(truth=truth, simulated=simulated, seed=2)
    assert first.low <= first.value <= first.high
    assert first.high > first.low


def test_luck_alone_by_exact_binomials():
    """The mean absolute difference of two independent binomial rates, summed exactly; and r against its own draws."""
    truth, n = np.array([0.0, 0.1, 0.35, 0.5, 0.8, 0.95]), 20
    r, difference = luck(truth=truth, episodes=n)
    counts = np.arange(n + 1)
    expected = 0.0
    for rate in truth:
        p = stats.binom.pmf(counts, n, rate)
        expected += float(p @ np.abs(counts[:, None] - counts[None, :]) @ p) / n / len(truth)
    assert difference.value == pytest.approx(expected, abs=0.006)
    assert difference.low < expected < difference.high
    generator = np.random.default_rng(9)
    drawn = [stats.pearsonr(generator.binomial(n, truth), generator.binomial(n, truth)).statistic for _ in range(1000)]
    assert (r.value, r.low) == pytest.approx(tuple(np.quantile(drawn, [0.5, 0.025])), abs=0.03)


def test_luck_shrinks_with_episodes_and_with_spread():
    wide, narrow = np.linspace(0, 1, 12), np.linspace(0.6, 1, 12)
    assert luck(truth=wide, episodes=100)[0].value > luck(truth=wide, episodes=20)[0].value
    assert luck(truth=wide, episodes=50)[0].value > luck(truth=narrow, episodes=50)[0].value
    assert luck(truth=np.zeros(5), episodes=9)[0].value is None


@pytest.mark.parametrize("k", [1, 2, 3])
def test_few_policies_never_crash(k):
    generator = np.random.default_rng(k)
    outcomes = generator.uniform(size=(k, 6)) < np.linspace(0.1, 0.9, k)[:, None]
    result = agreement(truth=outcomes, simulated=outcomes)
    assert result.policies == k
    assert result.pearson.low is None
    assert f"k = {k}" in result.pearson.note
    assert result.mean_absolute_difference.value == 0


def test_a_side_that_does_not_vary_has_no_correlation():
    truth = np.zeros((5, 4), dtype=bool)
    simulated = np.arange(20).reshape(5, 4) % 3 == 0
    result = agreement(truth=truth, simulated=simulated)
    for figure in (result.pearson, result.drop_one, result.spearman, result.permutation):
        assert figure.value is None
        assert "true" in figure.note
    assert result.bias.value == pytest.approx(simulated.mean())
    assert result.truth_spread.value == 0


def test_a_perfect_line_has_no_interval():
    figure = pearson(truth=TRUTH, simulated=TRUTH / 2 + 0.25)
    assert figure.value == 1.0
    assert figure.low is None
    assert "line" in figure.note
    assert not math.isnan(figure.value)


def test_bad_outcomes_are_named():
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(2, 4\)"):
        agreement(truth=np.zeros((2, 3), dtype=bool), simulated=np.zeros((2, 4), dtype=bool))
    with pytest.raises(ValueError, match="int64"):
        agreement(truth=np.zeros((2, 3), dtype=bool), simulated=np.zeros((2, 3), dtype=np.int64))
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
        mmrv(truth=np.zeros(2), simulated=np.zeros(3))
