"""Clips out of a LeRobotDataset of 29 action dimensions and three cameras, written by LeRobot's own classes."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from numpy import ndarray

from cosmos_sim.data.clips import ClipRef, ClipSet, open_source
from cosmos_sim.data.lerobot import write_dataset
from cosmos_sim.data.split import held_out
from cosmos_sim.types import Episode

Numbers = Callable[[ndarray], list[int]]

SIZES = {"top": (48, 64), "left": (24, 40), "right": (32, 40)}
STEPS = (16, 23, 19, 14)
ACTIONS = 29


class All:
    """The whole of a batch."""

    def of(self, items: list[int]) -> list[int]:
        return items


def episode(seed: int, steps: int) -> Episode:
    rng = np.random.default_rng(seed)
    levels = (np.arange(steps) * 5)[:, None, None, None]
    return Episode(
        frames={c: np.broadcast_to(levels, (steps, *s, 3)).astype(np.uint8) for c, s in SIZES.items()},
        state=rng.normal(size=(steps, 5)).astype(np.float32),
        action=rng.normal(size=(steps, ACTIONS)).astype(np.float32),
        task=f"task {seed % 3}",
        fps=10.0,
    )


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    return [episode(seed, steps) for seed, steps in enumerate(STEPS)]


@pytest.fixture(scope="module")
def written(episodes: list[Episode], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(iter(episodes), tmp_path_factory.mktemp("data") / "set")


@pytest.fixture
def copy(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "copy"))


def clip_set(path: Path, cache: Path, source: dict[str, Any] | None = None, **options: Any) -> ClipSet:
    settings: dict[str, Any] = {
        "frames": 5,
        "fps": 10,
        "sizes": [(24, 32)],
        "actions": True,
        "captions": True,
        "every": 1,
        **options,
    }
    return ClipSet([open_source(path, **(source or {}))], cache=cache / "cache", **settings)


def drawn(clips: ClipSet, seeds: int = 10) -> list[ClipRef]:
    generators = (torch.Generator().manual_seed(seed) for seed in range(seeds))
    return [ref for generator in generators for ref in clips.draw(4, generator, images=False, part=All())]


def place(name: str) -> tuple[int, str, int]:
    """Episode, cameras and first step of a clip."""
    described, seconds = name.rsplit(": episode ", 1)[1].split("@")
    index, cameras = described.split(", camera", 1)
    return int(index), cameras.removeprefix("s").strip(), round(float(seconds[:-1]) * 10)


def test_each_camera_is_a_clip_of_its_own(
    written: Path, episodes: list[Episode], tmp_path: Path, numbers: Numbers
) -> None:
    clips = clip_set(written, tmp_path)
    kept = held_out(len(STEPS))
    assert clips.action_dim == ACTIONS
    assert len(clips) == sum(3 * (steps - 4) for k, steps in enumerate(STEPS) if k not in kept)
    seen = set()
    for ref in drawn(clips):
        clip = clips.load(ref)
        index, camera, start = place(clip.name)
        seen.add((index, camera))
        assert clip.caption == f"task {index % 3}"
        assert clip.frames.shape == (5, 24, 32, 3)
        assert numbers(clip.frames) == list(range(start, start + 5))
        np.testing.assert_array_equal(clip.action, episodes[index].action[start : start + 4])
    assert seen == {(index, camera) for index in range(4) if index not in kept for camera in SIZES}
    assert {place(clips.name(ref))[0] for ref in clips.held_out(99)} == set(kept)
    assert clips.captions() == ["task 0", "task 1", "task 2"]


def test_all_cameras_side_by_side(written: Path, episodes: list[Episode], tmp_path: Path, numbers: Numbers) -> None:
    clips = clip_set(written, tmp_path, {"side_by_side": True}, sizes=[(24, 102)])  # 32 + 40 + 30 wide
    for ref in drawn(clips, 3):
        clip = clips.load(ref)
        index, cameras, start = place(clip.name)
        assert cameras == "top, left, right"
        for columns in (slice(0, 32), slice(32, 72), slice(72, 102)):
            assert numbers(clip.frames[:, :, columns]) == list(range(start, start + 5))
        np.testing.assert_array_equal(clip.action, episodes[index].action[start : start + 4])
    chosen = clip_set(written, tmp_path, {"cameras": ["right", "top"]})
    assert {place(chosen.name(ref))[1] for ref in drawn(chosen)} == {"right", "top"}
    assert not {ref.key for ref in drawn(chosen)} & {ref.key for ref in drawn(clips)}


def test_keys_differ_by_camera_and_episode_though_files_do_not(written: Path, tmp_path: Path) -> None:
    clips = clip_set(written, tmp_path, held_out=0.0)
    refs = {clips.name(ref): ref.key for ref in drawn(clips, 60)}
    assert len(refs) > 100
    assert len(set(refs.values())) == len(refs)


@pytest.mark.parametrize(("how", "combine"), [("sum", lambda a: a.sum(axis=0)), ("last", lambda a: a[-1])])
def test_a_stride_has_actions_only_where_it_is_said_which(
    written: Path,
    episodes: list[Episode],
    tmp_path: Path,
    numbers: Numbers,
    how: str,
    combine: Callable[[ndarray], ndarray],
) -> None:
    with pytest.raises(ValueError, match=r"10 actions a second: at 5 frames a second stride_actions must say"):
        clip_set(written, tmp_path, fps=5)
    with pytest.raises(ValueError, match="10 actions a second, which 4 frames a second do not divide"):
        clip_set(written, tmp_path, {"stride_actions": how}, fps=4)
    clips = clip_set(written, tmp_path, {"stride_actions": how}, fps=5)
    for ref in drawn(clips, 3):
        clip = clips.load(ref)
        index, _, start = place(clip.name)
        assert numbers(clip.frames) == list(range(start, start + 10, 2))
        action = episodes[index].action
        expected = [combine(action[start + 2 * k : start + 2 * k + 2]) for k in range(4)]
        np.testing.assert_allclose(clip.action, expected, rtol=1e-6)
    free = clip_set(written, tmp_path, fps=4, actions=False)
    clip = free.load(drawn(free)[0])
    assert clip.action is None
    assert numbers(clip.frames)[::2] == [place(clip.name)[2] + 5 * k for k in range(3)]


def test_statistics_are_of_the_episodes_trained_on(written: Path, episodes: list[Episode], tmp_path: Path) -> None:
    figures = clip_set(written, tmp_path, {"cameras": ["top"]}).action_statistics()
    rows = np.concatenate([e.action[:-1] for k, e in enumerate(episodes) if k not in held_out(len(STEPS))])
    np.testing.assert_allclose(figures.mean, rows.mean(axis=0), atol=1e-6)
    assert len(figures.std) == ACTIONS


def test_a_broken_camera_costs_its_clips_alone(copy: Path, tmp_path: Path, numbers: Numbers) -> None:
    (file,) = copy.glob("videos/*left/*/*.mp4")
    file.write_bytes(b"no video")
    with pytest.warns(UserWarning, match=r"episode \d, camera left: .*not a readable video"):
        clips = clip_set(copy, tmp_path)
    assert {place(name + "@0s")[:2] for name in clips.skipped} == {(k, "left") for k in range(4)}
    for ref in drawn(clips):
        clip = clips.load_or_replace(ref)
        _, camera, start = place(clip.name)
        assert camera in ("top", "right")
        assert numbers(clip.frames) == list(range(start, start + 5))


def test_damage_inside_a_video_is_met_in_decoding(copy: Path, tmp_path: Path) -> None:
    (file,) = copy.glob("videos/*top/*/*.mp4")
    data = bytearray(file.read_bytes())
    at = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 3
    data[at : at + 200] = np.random.default_rng(0).bytes(200)
    file.write_bytes(bytes(data))
    clips = clip_set(copy, tmp_path, {"cameras": ["top"]}, held_out=0.0)
    assert not clips.skipped
    with pytest.warns(UserWarning, match=r"skipped a broken clip, .*camera top@"):
        names = [clips.load_or_replace(ref).name for ref in drawn(clips, 20)]
    assert 0 < len(clips.skipped) < len(clips)
    assert not set(names) & set(clips.skipped)
    lines = [json.loads(line)["clip"] for line in (tmp_path / "cache" / "skipped.jsonl").read_text().splitlines()]
    assert sorted(lines) == sorted(clips.skipped)


def test_actions_that_are_not_finite_cost_the_windows_that_hold_them(copy: Path, tmp_path: Path) -> None:
    (file,) = copy.glob("data/*/*.parquet")
    table = pq.read_table(file)
    actions = np.stack(table["action"].to_pylist()).astype(np.float32)
    actions[STEPS[0] + 11, 28] = np.nan  # step 11 of episode 1
    column = table.column_names.index("action")
    spoilt = table.set_column(column, table.schema.field("action"), [pa.array(list(actions), table["action"].type)])
    pq.write_table(spoilt, file)
    clips = clip_set(copy, tmp_path, {"cameras": ["top"]}, held_out=0.0)
    with pytest.warns(UserWarning, match=r"episode 1, camera top@\d.\d+s: action \d must be finite"):
        places = {place(clips.name(ref))[::2] for ref in drawn(clips, 120)}
    assert {place(name)[::2] for name in clips.skipped} == {(1, start) for start in (8, 9, 10, 11)}
    assert places == {
        (k, s) for k, n in enumerate(STEPS) for s in range(n - 4) if (k, s) not in {(1, 8), (1, 9), (1, 10), (1, 11)}
    }
    assert all(clips.action(ref).shape == (4, ACTIONS) for ref in drawn(clips))  # type: ignore[union-attr]
    assert clips.action_statistics().count == sum(STEPS) - 4 - 1


def test_rows_that_are_missing_break_their_episode(copy: Path, tmp_path: Path) -> None:
    (file,) = copy.glob("data/*/*.parquet")
    pq.write_table(pq.read_table(file).slice(0, sum(STEPS) - 5), file)
    with pytest.warns(UserWarning, match=r"episode 3, camera .*should have 14 rows there, it has 9"):
        clips = clip_set(copy, tmp_path, held_out=0.0)
    assert {place(name + "@0s")[0] for name in clips.skipped} == {3}
    assert {place(clips.name(ref))[0] for ref in drawn(clips)} == {0, 1, 2}


def test_an_episode_that_its_video_does_not_hold(copy: Path, written: Path, tmp_path: Path) -> None:
    (short,) = copy.glob("videos/*top/*/*.mp4")
    one = write_dataset([episode(0, STEPS[0])], tmp_path / "one")
    shutil.copy(next(one.glob("videos/*top/*/*.mp4")), short)
    with pytest.warns(UserWarning, match=r"episode \d, camera top: .*ends at 1.600 s, the \d\d frames from"):
        clips = clip_set(copy, tmp_path, {"cameras": ["top"]}, held_out=0.0)
    assert {place(name + "@0s")[0] for name in clips.skipped} == {1, 2, 3}


def images_dataset(path: Path, levels: Sequence[int]) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    features = {
        "observation.images.eye": {"dtype": "image", "shape": (24, 40, 3), "names": ["height", "width", "channels"]},
        "observation.state": {"dtype": "float32", "shape": (2,), "names": None},
        "action": {"dtype": "float32", "shape": (3,), "names": None},
    }
    dataset = LeRobotDataset.create("images", fps=10, features=features, root=path, use_videos=False)
    for offset in range(2):
        for level in levels:
            image = np.full((24, 40, 3), 5 * (level + offset), np.uint8)
            row = {"observation.images.eye": image, "observation.state": np.zeros(2, np.float32)}
            dataset.add_frame({**row, "action": np.full(3, level, np.float32), "task": "look"})
        dataset.save_episode()
    dataset.finalize()


def test_images_among_the_rows(tmp_path: Path, numbers: Numbers) -> None:
    images_dataset(tmp_path / "set", range(12))
    clips = clip_set(tmp_path / "set", tmp_path, held_out=0.0)
    seen = set()
    for ref in drawn(clips, 5):
        clip = clips.load(ref)
        index, camera, start = place(clip.name)
        seen.add((index, camera))
        assert numbers(clip.frames) == [start + k + index for k in range(5)]
        np.testing.assert_array_equal(clip.action, np.repeat(np.arange(start, start + 4)[:, None], 3, axis=1))
    assert seen == {(0, "eye"), (1, "eye")}


def test_what_cannot_be_is_refused(written: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no camera 'tpo'; did you mean 'top'"):
        open_source(written, cameras=["tpo"])
    with pytest.raises(ValueError, match=r"needs a camera"):
        open_source(written, cameras=[])
    with pytest.raises(ValueError, match=r"none of 12 videos is long and fast enough; .*it has 16 frames at 10"):
        clip_set(written, tmp_path, frames=30)
    with pytest.raises(ValueError, match=r"it has 10 frames a second, 16 are asked for"):
        clip_set(written, tmp_path, fps=16, actions=False)
