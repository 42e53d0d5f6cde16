"""The held-out split."""

import pytest

from cosmos_sim.data.split import held_out


def test_about_the_fraction_and_stable_when_episodes_are_appended() -> None:
    large = held_out(2000, fraction=0.1)
    assert 160 < len(large) < 240
    for episodes in (50, 480):
        assert held_out(episodes) == tuple(e for e in large if e < episodes)
    assert set(held_out(300, fraction=0.05)) < set(held_out(300, fraction=0.2))


@pytest.mark.parametrize("episodes", [2, 3, 7])
@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.99])
def test_small_datasets_keep_some_on_both_sides(episodes: int, fraction: float) -> None:
    kept = held_out(episodes, fraction=fraction)
    assert 0 < len(kept) < episodes
    assert list(kept) == sorted(set(kept) & set(range(episodes)))


def test_edges() -> None:
    assert held_out(1) == ()
    assert held_out(5, fraction=0) == ()
    with pytest.raises(ValueError, match=r"\[0, 1\), got 1.0"):
        held_out(5, fraction=1.0)
    with pytest.raises(ValueError, match="at least one episode, got 0"):
        held_out(0)
