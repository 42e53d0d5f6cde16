import pytest
from scipy import stats

from cosmos_sim.metrics.intervals import Interval, clopper_pearson, mcnemar_exact, mean_interval, wilson


@pytest.mark.parametrize(("successes", "trials"), [(0, 7), (1, 7), (24, 30), (7, 7), (113, 400)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize(("ours", "method"), [(clopper_pearson, "exact"), (wilson, "wilson")])
def test_intervals_equal_scipy(ours, method, successes, trials, confidence):
    theirs = stats.binomtest(successes, trials).proportion_ci(confidence_level=confidence, method=method)
    interval = ours(successes, trials, confidence=confidence)
    assert (interval.low, interval.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_published_values_of_24_in_30():
    exact, score = clopper_pearson(24, 30), wilson(24, 30)
    assert [round(v, 3) for v in (exact.low, exact.high)] == [0.614, 0.923]
    assert [round(v, 3) for v in (score.low, score.high)] == [0.627, 0.905]
    assert 0.8 in exact
    assert 0.93 not in exact


def test_extremes_reach_the_ends_exactly():
    assert clopper_pearson(0, 3).low == 0.0
    assert clopper_pearson(3, 3) == Interval(pytest.approx(0.025 ** (1 / 3)), 1.0)


@pytest.mark.parametrize("function", [clopper_pearson, wilson])
@pytest.mark.parametrize(("arguments", "named"), [((3, 0), "0"), ((-1, 4), "-1"), ((5, 4), "5")])
def test_impossible_counts_are_named(function, arguments, named):
    with pytest.raises(ValueError, match=named):
        function(*arguments)


def test_confidence_outside_its_range_is_named():
    with pytest.raises(ValueError, match=r"1\.5"):
        wilson(1, 2, confidence=1.5)


@pytest.mark.parametrize(("first", "second"), [(1, 9), (9, 1), (4, 4), (0, 6)])
def test_mcnemar_equals_the_doubled_binomial_tail(first, second):
    tail = stats.binom.cdf(min(first, second), first + second, 0.5)
    assert mcnemar_exact(first, second) == pytest.approx(min(1.0, 2 * tail))


def test_mcnemar_without_disagreement_and_with_a_negative_count():
    assert mcnemar_exact(0, 0) == 1.0
    with pytest.raises(ValueError, match="-2"):
        mcnemar_exact(3, -2)


def test_interval_on_a_mean_equals_scipy():
    values = [3.0, 1.5, 2.25, 9.0, -1.0]
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    ours = mean_interval(values, confidence=0.9)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


@pytest.mark.parametrize("values", [[1.0], [1.0, float("nan")]])
def test_means_without_an_interval_are_refused(values: list[float]):
    with pytest.raises(ValueError, match="two values or more"):
        mean_interval(values)
