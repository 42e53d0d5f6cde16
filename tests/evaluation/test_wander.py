from pathlib import Path

import numpy as np
import pytest

from cosmos_sim.data.lerobot import read_episodes
from cosmos_sim.evaluation.wander import FIRST_SEED, Wanderer, record_wandering


def roam(seeds: list[int], steps: int, **options) -> tuple[np.ndarray, np.ndarray]:
    """Positions and actions of hands that move by 2 cm a full command."""
    policy = Wanderer(6, **options)
    policy.reset(seeds)
    position = np.zeros((len(seeds), 3)) + np.array([0.4, -0.2, 1.0])
    track, actions = [position], []
    for _ in range(steps):
        action = policy.act({"agent_pos": np.concatenate([position, np.zeros((len(seeds), 2))], axis=1)}, {})
        assert action.shape == (len(seeds), 1, 6)
        position = position + 0.02 * action[:, 0, :3]
        track.append(position)
        actions.append(action[:, 0])
    return np.stack(track, axis=1), np.stack(actions, axis=1)


def test_all_six_directions_are_visited_within_reach():
    track, actions = roam([1, 2, 3], 400, reach=0.1)
    offset = track - track[:, :1]
    assert np.abs(offset).max() < 0.11
    assert (offset.max(axis=1) > 0.06).all()
    assert (offset.min(axis=1) < -0.06).all()
    assert np.abs(actions).max() <= 1
    assert not actions[..., 3:5].any()
    assert set(np.unique(actions[..., 5])) == {-1.0, 1.0}
    straight = [np.abs(offset[..., axis]) > 0.05 for axis in range(3)]
    for axis in range(3):
        others = np.abs(np.delete(offset, axis, axis=-1)).max(axis=-1) < 0.02
        assert (straight[axis] & others).any()


def test_an_episode_follows_from_its_seed():
    (both, _), (alone, _) = roam([5, 6], 40), roam([6], 40)
    np.testing.assert_array_equal(both[1], alone[0])
    assert not np.array_equal(both[0], both[1])


def test_a_point_out_of_reach_is_given_up():
    policy = Wanderer(4, patience=3)
    policy.reset([0])
    stuck = {"agent_pos": np.zeros((1, 3))}
    motions = [policy.act(stuck, {})[0, 0, :3] for _ in range(9)]
    assert [np.array_equal(a, b) for a, b in zip(motions[::3], motions[2::3], strict=True)] == [True] * 3
    assert not np.array_equal(motions[2], motions[3])


def test_bad_sizes_are_named():
    with pytest.raises(ValueError, match="got 3"):
        Wanderer(3)
    with pytest.raises(ValueError, match="-1"):
        Wanderer(4, reach=-1)


def test_wandering_is_recorded_once(tmp_path: Path):
    path = record_wandering("Lift", 2, tmp_path / "wander", length=3)
    episodes = list(read_episodes(path))
    assert [len(episode) for episode in episodes] == [3, 3]
    assert not np.array_equal(episodes[0].state[0], episodes[1].state[0])
    assert FIRST_SEED + 10_000 < 2**32
    before = (path / "meta" / "info.json").stat().st_mtime_ns
    assert record_wandering("Lift", 2, path) == path
    assert (path / "meta" / "info.json").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match=r"2 episodes .* 5"):
        record_wandering("Lift", 5, path)
    with pytest.raises(ValueError, match="got 0"):
        record_wandering("Lift", 0, tmp_path / "none")
