"""Statistics against SciPy and closed forms."""

import json

import numpy as np
import pytest
from scipy import stats

from cosmos_sim.data.statistics import Statistics, statistics


def test_figures_agree_with_scipy_over_several_episodes() -> None:
    rng = np.random.default_rng(0)
    parts = [(rng.normal(size=(t, 3)) * [1, 5, 0.1] + [0, 100, -3]).astype(np.float32) for t in (40, 7, 13)]
    found = statistics(parts)
    values = np.concatenate(parts).astype(np.float64)
    described = stats.describe(values, ddof=0)
    np.testing.assert_allclose(found.mean, described.mean, rtol=1e-12)
    np.testing.assert_allclose(found.std, np.sqrt(described.variance), rtol=1e-9)
    np.testing.assert_array_equal((found.minimum, found.maximum), described.minmax)
    np.testing.assert_allclose(found.q01, stats.mstats.mquantiles(values, [0.01], alphap=1, betap=1, axis=0)[0])
    np.testing.assert_allclose(found.q99, stats.mstats.mquantiles(values, [0.99], alphap=1, betap=1, axis=0)[0])
    assert found.count == 60
    assert statistics(np.concatenate(parts)) == found


def test_large_offsets_do_not_drown_small_motion() -> None:
    x = np.float32(4096) + np.tile(np.asarray([0, 0.5], np.float32), 500)[:, None]
    assert statistics(x).std == pytest.approx((0.25,))


def test_an_entry_that_never_changes_has_no_spread_and_a_safe_scale() -> None:
    x = np.stack([np.full(1001, 0.1, np.float32), np.linspace(0, 1, 1001, dtype=np.float32)], axis=1)
    found = statistics(x)
    assert found.std[0] == 0
    assert found.scale == (1.0, found.std[1])
    assert found.std[1] > 0.28


def test_json_round_trip() -> None:
    found = statistics(np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32))
    values = json.loads(json.dumps(found.to_dict()))
    assert Statistics.from_dict(values) == found
    with pytest.raises(ValueError, match="unequal lengths"):
        Statistics.from_dict(values | {"mean": [0.0]})
    del values["q01"]
    with pytest.raises(ValueError, match="must have the keys"):
        Statistics.from_dict(values)


def test_what_has_no_statistics() -> None:
    with pytest.raises(ValueError, match=r"shape \(t, n\)"):
        statistics([])
    with pytest.raises(ValueError, match=r"shape \(t, n\)"):
        statistics([np.zeros((3, 2), np.float32), np.zeros((3, 4), np.float32)])
    bad = np.zeros((5, 2), np.float32)
    bad[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"row 3 is \[0.0, nan\]"):
        statistics(bad)
