"""Windows are enumerated by brute force, weights recomputed one by one, draws judged by a chi-square test."""

import numpy as np
import pytest
import torch
from scipy import stats

from cosmos_sim.data.windows import Windows, all_windows, clamp, draw, motion_weights

LENGTHS = (5, 2, 9)


def pairs(windows: Windows) -> list[tuple[int, int]]:
    return list(zip(windows.episode.tolist(), windows.start.tolist(), strict=True))


def test_every_window_once() -> None:
    assert pairs(all_windows(LENGTHS, 4)) == [(0, 0), (0, 1), *((2, start) for start in range(6))]


def test_windows_of_chosen_episodes() -> None:
    assert pairs(all_windows(LENGTHS, 5, episodes=[2, 0])) == [*((2, start) for start in range(5)), (0, 0)]


def test_windows_that_stand_out_are_padded() -> None:
    windows = all_windows(LENGTHS, 3, episodes=[1], before=2, after=1)
    assert pairs(windows) == [(1, -2), (1, -1), (1, 0)]
    steps, inside = clamp(windows.steps(), np.asarray(LENGTHS)[windows.episode])
    np.testing.assert_array_equal(steps, [[0, 0, 0], [0, 0, 1], [0, 1, 1]])
    np.testing.assert_array_equal(inside, [[False, False, True], [False, True, True], [True, True, False]])


def test_impossible_windows() -> None:
    with pytest.raises(ValueError, match="no window of 10 steps: the longest of 3 episodes has 9"):
        all_windows(LENGTHS, 10)
    with pytest.raises(ValueError, match=r"0..2, not 3"):
        all_windows(LENGTHS, 2, episodes=[3])
    with pytest.raises(ValueError, match="before=4"):
        all_windows(LENGTHS, 4, before=4)


def test_weights_follow_motion_and_success() -> None:
    rng = np.random.default_rng(0)
    states = [
        np.cumsum(rng.normal(size=(t, 2)) * [1, 10] * (k + 1), axis=0).astype(np.float32) for k, t in enumerate(LENGTHS)
    ]
    successes = [np.zeros(t, bool) for t in LENGTHS]
    successes[0][2:] = True
    windows = all_windows(LENGTHS, 3, before=1, after=1)
    weights = motion_weights(windows, states, successes, factor=4, quantile=0.6)
    scale = np.concatenate(states).std(axis=0)
    paths, changes = [], []
    for episode, start in pairs(windows):
        low, high = max(start, 0), min(start + 2, LENGTHS[episode] - 1)
        z = states[episode][low : high + 1] / scale
        paths.append(sum(np.linalg.norm(z[i + 1] - z[i]) for i in range(high - low)))
        changes.append(len(set(successes[episode][low : high + 1].tolist())) == 2)
    busy = (np.asarray(paths) > np.quantile(paths, 0.6)) | np.asarray(changes)
    np.testing.assert_array_equal(weights, np.where(busy, 4.0, 1.0))
    assert any(changes)
    assert 0 < busy.sum() < len(busy)


def test_draws_repeat_and_follow_the_weights() -> None:
    windows = all_windows(LENGTHS, 4)
    weights = np.asarray([1, 3, 0, 1, 2, 5, 1, 1], np.float64)
    first = draw(windows, 4000, torch.Generator().manual_seed(3), weights=weights)
    again = draw(windows, 4000, torch.Generator().manual_seed(3), weights=weights)
    other = draw(windows, 4000, torch.Generator().manual_seed(4), weights=weights)
    assert pairs(first) == pairs(again) != pairs(other)
    counts = np.asarray([pairs(first).count(pair) for pair in pairs(windows)])
    assert counts[2] == 0
    kept = weights > 0
    assert stats.chisquare(counts[kept], 4000 * weights[kept] / weights.sum()).pvalue > 1e-3
    alike = pairs(draw(windows, 4000, torch.Generator().manual_seed(0)))
    assert stats.chisquare([alike.count(pair) for pair in pairs(windows)]).pvalue > 1e-3


@pytest.mark.parametrize("weights", [np.ones(7), np.zeros(8), np.full(8, -1.0), np.full(8, np.nan)])
def test_weights_that_do_not_fit(weights: np.ndarray) -> None:
    with pytest.raises(ValueError, match="8 windows need as many finite weights"):
        draw(all_windows(LENGTHS, 4), 1, torch.Generator(), weights=weights)
