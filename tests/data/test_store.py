"""The store against the episodes that were written and the reader it decodes with."""

import os
from pathlib import Path

import numpy as np
import pytest

from cosmos_sim.data.lerobot import read_episodes, write_dataset
from cosmos_sim.data.store import EpisodeStore
from cosmos_sim.data.windows import Windows
from cosmos_sim.types import Episode

LENGTHS = (6, 3, 8)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    episodes = [
        Episode(
            frames={
                "left": rng.integers(0, 256, (t, 16, 24, 3), np.uint8),
                "right": rng.integers(0, 256, (t, 32, 8, 3), np.uint8),
            },
            state=rng.normal(size=(t, 4)).astype(np.float32),
            action=rng.normal(size=(t, 2)).astype(np.float32),
            task=f"task {k}",
            success=rng.random(t) > 0.5,
        )
        for k, t in enumerate(LENGTHS)
    ]
    return write_dataset(episodes, tmp_path_factory.mktemp("store") / "set")


def test_episodes_are_those_of_the_dataset(dataset: Path, tmp_path: Path) -> None:
    store = EpisodeStore(dataset, cache=tmp_path)
    assert len(store) == 3
    assert store.reward is None
    for index, original in enumerate(read_episodes(dataset)):
        episode = store.episode(index)
        for camera in original.frames:
            np.testing.assert_array_equal(episode.frames[camera], original.frames[camera])
        np.testing.assert_array_equal(episode.state, original.state)
        np.testing.assert_array_equal(episode.action, original.action)
        np.testing.assert_array_equal(episode.success, original.success)
        assert episode.task == original.task == f"task {index}"
    np.testing.assert_array_equal(store.rows([2, 1]), [*range(9, 17), *range(6, 9)])
    np.testing.assert_array_equal(store.state[store.rows([1])], store.states()[1])
    assert sorted(store.train + store.held_out) == [0, 1, 2]
    with pytest.raises(ValueError, match=r"0..2, not 3"):
        store.episode(3)


def test_clips_gather_and_pad(dataset: Path, tmp_path: Path) -> None:
    store = EpisodeStore(dataset, cache=tmp_path, cameras=["right"])
    assert store.cameras == {"right": (32, 8)}
    clips = store.clips(Windows(np.asarray([2, 1]), np.asarray([3, -1]), 5))
    assert clips.frames["right"].shape == (2, 5, 32, 8, 3)
    whole = store.episode(2), store.episode(1)
    np.testing.assert_array_equal(clips.frames["right"][0], whole[0].frames["right"][3:8])
    np.testing.assert_array_equal(clips.frames["right"][1], whole[1].frames["right"][[0, 0, 1, 2, 2]])
    np.testing.assert_array_equal(clips.action[1], whole[1].action[[0, 0, 1, 2, 2]])
    assert clips.success is not None
    assert whole[0].success is not None
    np.testing.assert_array_equal(clips.success[0], whole[0].success[3:8])
    np.testing.assert_array_equal(clips.inside, [[True] * 5, [False, True, True, True, False]])


def test_decoding_happens_once_and_again_after_a_change(dataset: Path, tmp_path: Path) -> None:
    EpisodeStore(dataset, cache=tmp_path)
    (decoded,) = tmp_path.iterdir()
    made = decoded.stat().st_mtime_ns
    EpisodeStore(dataset, cache=tmp_path)
    assert [f.stat().st_mtime_ns for f in tmp_path.iterdir()] == [made]
    EpisodeStore(dataset, cache=tmp_path, cameras=["left"])
    assert len(list(tmp_path.iterdir())) == 2
    (data,) = dataset.glob("data/*/*.parquet")
    os.utime(data, ns=(1, 1))
    EpisodeStore(dataset, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_broken_dataset_leaves_nothing_in_the_cache(dataset: Path, tmp_path: Path) -> None:
    (video,) = dataset.glob("videos/observation.images.left/*/*.mp4")
    whole = video.read_bytes()
    video.write_bytes(whole[: len(whole) // 2])
    try:
        with pytest.raises(ValueError, match="camera 'left'"):
            EpisodeStore(dataset, cache=tmp_path)
    finally:
        video.write_bytes(whole)
    assert list(tmp_path.iterdir()) == []
