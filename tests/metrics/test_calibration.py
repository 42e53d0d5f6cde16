import math

import numpy as np
import pytest
from scipy import stats

from cosmos_sim.metrics.calibration import calibration, roc_auc
from cosmos_sim.metrics.intervals import clopper_pearson


def drawn(generator, m=23, n=40):
    """Scores with ties, of ``m`` true and ``n`` untrue cases in mixed order."""
    truth = np.zeros(m + n, dtype=bool)
    truth[generator.permutation(m + n)[:m]] = True
    return truth, np.round(generator.normal(truth * 1.0, 1.0), 1)


def test_the_area_is_mann_whitneys_u():
    truth, score = drawn(np.random.default_rng(0))
    u = stats.mannwhitneyu(score[truth], score[~truth]).statistic
    assert roc_auc(truth=truth, score=score).value == pytest.approx(u / (23 * 40), abs=1e-12)
    assert roc_auc(truth=truth, score=-score).value == pytest.approx(1 - u / (23 * 40), abs=1e-12)


def test_the_interval_is_delongs_by_its_definition():
    truth, score = drawn(np.random.default_rng(1))
    pairs = np.array([[(x > y) + 0.5 * (x == y) for y in score[~truth]] for x in score[truth]])
    variance = pairs.mean(axis=1).var(ddof=1) / 23 + pairs.mean(axis=0).var(ddof=1) / 40
    figure = roc_auc(truth=truth, score=score, confidence=0.9)
    area = pairs.mean()
    half = stats.norm.ppf(0.95) * math.sqrt(variance) / (area * (1 - area))
    logit = math.log(area / (1 - area))
    assert figure.low == pytest.approx(stats.logistic.cdf(logit - half))
    assert figure.high == pytest.approx(stats.logistic.cdf(logit + half))


def test_the_interval_covers_the_true_area_as_often_as_it_says():
    generator = np.random.default_rng(2)
    area = stats.norm.cdf(1 / math.sqrt(2))  # of two normals one deviation apart
    figures = [
        roc_auc(truth=t, score=generator.normal(t * 1.0, 1.0)) for t, _ in (drawn(generator) for _ in range(400))
    ]
    covered = np.mean([figure.low <= area <= figure.high for figure in figures])
    assert 0.91 <= covered <= 0.985


def test_an_area_that_cannot_be_told_says_why():
    assert roc_auc(truth=np.ones(3, bool), score=np.arange(3.0)).value is None
    assert "all 3 cases are true" in roc_auc(truth=np.ones(3, bool), score=np.arange(3.0)).note
    perfect = roc_auc(truth=np.array([False, False, True, True]), score=np.arange(4.0))
    assert (perfect.value, perfect.low) == (1.0, None)
    assert "says nothing" in perfect.note
    blind = roc_auc(truth=np.array([False, True, False, True]), score=np.zeros(4))
    assert (blind.value, blind.low) == (0.5, None)


def test_figures_by_hand():
    truth = np.array([True, False, True, False, False])
    found = calibration(truth=truth, probability=np.array([1.0, 0.5, 0.45, 0.1, 0.0]), bins=2)
    assert (found.table.true_positive, found.table.false_positive) == (1, 1)
    assert (found.table.false_negative, found.table.true_negative) == (1, 2)
    assert found.brier == pytest.approx((0 + 0.25 + 0.55**2 + 0.01 + 0) / 5)
    assert found.brier_of_rate == pytest.approx(2 / 5 * 3 / 5)
    low, high = found.bins
    assert (low.low, low.high, low.count, low.rate) == (0.0, 0.5, 3, 1 / 3)
    assert low.probability == pytest.approx(0.55 / 3)
    assert (high.low, high.high, high.count, high.rate, high.probability) == (0.5, 1.0, 2, 1 / 2, 0.75)
    assert high.interval == clopper_pearson(1, 2)
    assert found.error == pytest.approx(3 / 5 * (1 / 3 - 0.55 / 3) + 2 / 5 * 0.25)


def test_a_judge_that_means_what_it_says():
    generator = np.random.default_rng(3)
    probability = generator.random(4000)
    found = calibration(truth=generator.random(4000) < probability, probability=probability)
    assert len(found.bins) == 10
    assert sum(part.probability in part.interval for part in found.bins) >= 9
    assert found.error < 0.03
    assert found.brier == pytest.approx(1 / 6, abs=0.01)  # the mean of p (1 - p) over p in [0, 1]
    bold = calibration(truth=generator.random(4000) < probability, probability=(probability > 0.5).astype(float))
    assert bold.error == pytest.approx(1 / 4, abs=0.03)
    assert [(part.low, part.count > 0) for part in bold.bins] == [(0.0, True), (0.9, True)]


@pytest.mark.parametrize(
    ("truth", "probability", "options", "words"),
    [
        (np.ones(2, bool), np.array([0.2, 1.5]), {}, r"\[0, 1\], got 1.5"),
        (np.ones(2, bool), np.zeros(3), {}, r"\(2,\) and \(3,\)"),
        (np.ones(0, bool), np.zeros(0), {}, "one length"),
        (np.ones(2), np.zeros(2), {}, "float64"),
        (np.ones(2, bool), np.array([0.2, np.nan]), {}, "score 1 is not a number"),
        (np.ones(2, bool), np.zeros(2), {"threshold": 2.0}, "got 2.0"),
        (np.ones(2, bool), np.zeros(2), {"bins": 0}, "got 0"),
    ],
)
def test_bad_input_is_named(truth, probability, options, words):
    with pytest.raises(ValueError, match=words):
        calibration(truth=truth, probability=probability, **options)
