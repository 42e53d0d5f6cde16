import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logit

from cosmos_sim.envs.trust_calibration import TrustCalibration


def test_two_values_are_fitted_exactly():
    """With two distinct errors the curve can meet both: each probability is the weighted mean of its targets."""
    follows = np.array([True] * 8 + [False] * 3)
    errors = np.array([0.1] * 6 + [0.4] * 2 + [0.1] + [0.4] * 2)
    found = TrustCalibration.fit(errors, follows)
    high, low = 9 / 10, 1 / 5
    small = (6 / 8 * high + 1 / 3 * low) / (6 / 8 + 1 / 3)
    large = (2 / 8 * high + 2 / 3 * low) / (2 / 8 + 2 / 3)
    np.testing.assert_allclose(found.probability(np.array([0.1, 0.4])), [small, large], atol=1e-5)
    assert found.slope == pytest.approx((logit(large) - logit(small)) / 0.3, rel=1e-4)


def test_probabilities_mean_what_they_say():
    rng = np.random.default_rng(0)
    errors = rng.gamma(2, 0.1, 20000)
    follows = rng.random(20000) < 1 / (1 + np.exp(-(2 - 9 * errors)))
    found = TrustCalibration.fit(errors, follows)
    odds = np.log(follows.mean() / (1 - follows.mean()))  # both answers weigh the same in the fit
    assert (found.intercept, found.slope) == pytest.approx((2 - odds, -9), abs=0.35)


def test_answers_that_the_error_separates_have_a_finite_slope():
    found = TrustCalibration.fit(np.array([0.1, 0.12, 0.5, 0.6]), np.array([True, True, False, False]))
    assert -200 < found.slope < 0
    assert found.probability(np.array(0.1)) > 0.6 > 0.4 > found.probability(np.array(0.6))


def test_a_calibration_survives_its_file(tmp_path: Path):
    made = TrustCalibration(1.5, -7.25, samples=5, figures={"auc": 0.9}, provenance={"data": "unseen", "episodes": 3})
    path = made.save(tmp_path)
    assert path.name == "trust.json"
    assert TrustCalibration.load(tmp_path) == made
    assert list(tmp_path.iterdir()) == [path]


def test_mistakes_are_named(tmp_path: Path):
    with pytest.raises(ValueError, match="got 2 and 0"):
        TrustCalibration.fit(np.array([0.1, 0.2]), np.array([True, True]))
    with pytest.raises(ValueError, match="a slope below 0"):
        TrustCalibration.fit(np.array([0.1, 0.2]), np.array([False, True]))
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        TrustCalibration(0.0, -1.0, samples=0)
    with pytest.raises(ValueError, match=r"holds no trust.json"):
        TrustCalibration.load(tmp_path)
    file = tmp_path / "trust.json"
    file.write_text("{")
    with pytest.raises(ValueError, match=r"trust.json is not valid JSON"):
        TrustCalibration.load(tmp_path)
    TrustCalibration(0.0, -1.0).save(tmp_path)
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": "cosmos-sim trust 9"}))
    with pytest.raises(ValueError, match="has format 'cosmos-sim trust 9'; this version reads 'cosmos-sim trust 1'"):
        TrustCalibration.load(tmp_path)
