"""The held-out split."""

import pytest

from cosmos_sim.data.split import held_out, some_of


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


def test_a_share_is_exact_and_part_of_a_larger_one() -> None:
    names = [str(name) for name in range(7, 437)]
    few, more = some_of(names, share=0.01), some_of(names, share=0.1)
    assert len(few) == 4
    assert len(more) == 43
    assert set(few) < set(more)
    assert some_of(names, share=1.0) == tuple(range(430))
    assert len(some_of(names, share=1e-9)) == 1
    assert {names[k] for k in few} == {names[::-1][k] for k in some_of(names[::-1], share=0.01)}
    for share in (0, 1.5):
        with pytest.raises(ValueError, match=rf"in \(0, 1\], got {share}"):
            some_of(names, share=share)
    with pytest.raises(ValueError, match="at least one episode, got 0"):
        some_of([], share=0.5)
