"""Datasets are written by LeRobot's classes, read by ours, and read again by LeRobot's own reader."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy import ndarray

from cosmos_sim.data.lerobot import dataset_info, read_episodes, write_dataset
from cosmos_sim.types import Episode

SIZES = {"top": (48, 64), "hand": (40, 32)}


def textures(rng: np.random.Generator, steps: int, height: int, width: int) -> ndarray:
    """Smooth coloured waves that drift, with a small saturated square that moves: video as a robot's camera sees it."""
    y, x = np.mgrid[0:height, 0:width]
    frames = np.empty((steps, height, width, 3), np.uint8)
    phase = rng.uniform(0, 6, 3)
    for step in range(steps):
        waves = [np.sin((x * (1 + c) + y * (2 - c)) / 11 + phase[c] + step / 9) for c in range(3)]
        frames[step] = np.stack(waves, -1) * 60 + 120
        frames[step, 5 + step % 20 : 13 + step % 20, 8:16] = (220, 20, 20)
    return frames


def episode(seed: int, steps: int, outcome: bool = True, task: str = "push") -> Episode:
    rng = np.random.default_rng(seed)
    return Episode(
        frames={camera: textures(rng, steps, *size) for camera, size in SIZES.items()},
        state=rng.normal(size=(steps, 5)).astype(np.float32),
        action=rng.normal(size=(steps, 3)).astype(np.float32),
        task=task,
        success=rng.random(steps) > 0.5 if outcome else None,
        reward=rng.normal(size=steps).astype(np.float32) if outcome else None,
        fps=10.0,
    )


@pytest.fixture(scope="module")
def originals() -> list[Episode]:
    return [episode(0, 9), episode(1, 14, task="pull"), episode(2, 5)]


@pytest.fixture(scope="module")
def written(originals: list[Episode], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(iter(originals), tmp_path_factory.mktemp("data") / "set", action_names=["x", "y", "z"])


@pytest.fixture
def copy(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "copy"))


def psnr(a: ndarray, b: ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


def assert_same(read: Episode, original: Episode) -> None:
    for name in ("state", "action", "reward", "success"):
        np.testing.assert_array_equal(getattr(read, name), getattr(original, name))
    assert read.task == original.task
    assert read.fps == original.fps
    assert list(read.frames) == list(original.frames)
    for camera, frames in original.frames.items():
        assert read.frames[camera].shape == frames.shape
        assert read.frames[camera].dtype == np.uint8
        assert psnr(read.frames[camera], frames) > 40


def test_what_is_written_is_read(written: Path, originals: list[Episode]) -> None:
    for index, (read, original) in enumerate(zip(read_episodes(written), originals, strict=True)):
        assert_same(read, original)
        assert read.info["episode_index"] == index


def test_a_coloured_object_keeps_its_colour(written: Path, originals: list[Episode]) -> None:
    read = next(read_episodes(written, [1])).frames["top"]
    original = originals[1].frames["top"]
    square = (original == (220, 20, 20)).all(-1)
    assert psnr(read[square], original[square]) > 36


def test_episodes_and_cameras_are_chosen_in_any_order(written: Path, originals: list[Episode]) -> None:
    read = list(read_episodes(written, [2, 0, 2, 1], ["hand"]))
    assert [r.info["episode_index"] for r in read] == [2, 0, 2, 1]
    for r in read:
        assert list(r.frames) == ["hand"]
        assert psnr(r.frames["hand"], originals[r.info["episode_index"]].frames["hand"]) > 40


def test_info_needs_no_decoding(copy: Path) -> None:
    shutil.rmtree(copy / "videos")
    info = dataset_info(copy)
    assert info.cameras == SIZES
    assert (info.state_dim, info.action_dim, info.fps) == (5, 3, 10.0)
    assert info.lengths == (9, 14, 5)
    assert (info.episodes, info.steps) == (3, 28)
    assert sorted(info.tasks) == ["pull", "push"]
    assert info.has_reward
    assert info.has_success


def test_lerobot_reads_it_back(written: Path, originals: list[Episode]) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    theirs = LeRobotDataset("set", root=written, video_backend="pyav", return_uint8=True)
    assert len(theirs) == 28
    assert theirs.features["action"]["names"] == ["x", "y", "z"]
    ours = list(read_episodes(written))
    first = 0
    for read, original in zip(ours, originals, strict=True):
        for step in (0, len(original) // 2, len(original) - 1):
            row = theirs[first + step]
            for camera in SIZES:
                image = row[f"observation.images.{camera}"].permute(1, 2, 0).numpy()
                np.testing.assert_array_equal(image, read.frames[camera][step])
            np.testing.assert_array_equal(row["observation.state"].numpy(), original.state[step])
            np.testing.assert_array_equal(row["action"].numpy(), original.action[step])
            assert original.reward is not None
            assert original.success is not None
            assert row["next.reward"].item() == original.reward[step]
            assert row["next.success"].item() == original.success[step]
            assert row["task"] == original.task
        first += len(original)


def lerobot_dataset(path: Path, features: dict[str, dict], rows: list[dict], **options: object) -> Path:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    theirs = LeRobotDataset.create("other", fps=20, features=features, root=path, **options)
    for row in rows:
        theirs.add_frame(row | {"task": "other"})
    theirs.save_episode()
    theirs.finalize()
    return path


def test_a_foreign_dataset_with_double_states_scalar_actions_and_default_video(tmp_path: Path) -> None:
    frames = textures(np.random.default_rng(3), 6, 64, 96)
    states = np.random.default_rng(4).normal(size=(6, 4))
    rows = [
        {"observation.image": f, "observation.state": s, "action": np.asarray([k], np.int64)}
        for k, (f, s) in enumerate(zip(frames, states, strict=True))
    ]
    features = {
        "observation.image": {"dtype": "video", "shape": (64, 96, 3), "names": ["height", "width", "channels"]},
        "observation.state": {"dtype": "float64", "shape": (4,), "names": None},
        "action": {"dtype": "int64", "shape": (1,), "names": None},
    }
    path = lerobot_dataset(tmp_path / "other", features, rows, video_backend="pyav")
    info = dataset_info(path)
    assert info.cameras == {"image": (64, 96)}
    assert not info.has_success
    (read,) = read_episodes(path)
    assert read.fps == 20
    assert read.success is None
    assert read.reward is None
    assert read.state.dtype == read.action.dtype == np.float32
    np.testing.assert_allclose(read.state, states, rtol=1e-6)
    np.testing.assert_array_equal(read.action, np.arange(6, dtype=np.float32)[:, None])
    assert psnr(read.frames["image"], frames) > 27


def test_a_dataset_of_images_is_read_exactly(tmp_path: Path) -> None:
    frames = textures(np.random.default_rng(3), 4, 24, 40)
    vector = np.arange(2, dtype=np.float32)
    rows = [{"observation.images.eye": f, "observation.state": vector, "action": vector} for f in frames]
    features = {
        "observation.images.eye": {"dtype": "image", "shape": (24, 40, 3), "names": ["height", "width", "channels"]},
        "observation.state": {"dtype": "float32", "shape": (2,), "names": None},
        "action": {"dtype": "float32", "shape": (2,), "names": None},
    }
    path = lerobot_dataset(tmp_path / "images", features, rows, use_videos=False)
    (read,) = read_episodes(path)
    np.testing.assert_array_equal(read.frames["eye"], frames)


def test_a_dataset_without_states_is_refused(copy: Path) -> None:
    file = copy / "meta" / "info.json"
    raw = json.loads(file.read_text())
    del raw["features"]["observation.state"]
    file.write_text(json.dumps(raw))
    with pytest.raises(ValueError, match=r"no feature 'observation.state'.*observation.images.top"):
        dataset_info(copy)


def test_an_older_version_is_refused(copy: Path) -> None:
    file = copy / "meta" / "info.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"codebase_version": "v2.1"}))
    with pytest.raises(ValueError, match=r"version 'v2.1'"):
        dataset_info(copy)


def test_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no LeRobot dataset at .*info.json"):
        dataset_info(tmp_path)
    with pytest.raises(ValueError, match=r"no LeRobot dataset 'nobody/nothing-of-this-name'"):
        dataset_info("nobody/nothing-of-this-name")


def test_a_name_that_lerobot_recorded_is_found(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_LEROBOT_HOME", str(tmp_path))
    shutil.copytree(written, tmp_path / "me" / "mine")
    assert dataset_info("me/mine").lengths == (9, 14, 5)


def video(path: Path, camera: str) -> Path:
    (file,) = path.glob(f"videos/observation.images.{camera}/*/*.mp4")
    return file


@pytest.mark.parametrize("kept", [0.3, 0.7, 0.9])
def test_a_truncated_video(copy: Path, kept: float) -> None:
    file = video(copy, "top")
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * kept)])
    with pytest.raises(ValueError, match=rf"episode \d, camera 'top': .*{file.name}"):
        list(read_episodes(copy))
    assert len(list(read_episodes(copy, cameras=["hand"]))) == 3


def test_a_video_of_noise(copy: Path) -> None:
    video(copy, "hand").write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(ValueError, match=r"episode 0, camera 'hand': .*not a readable video"):
        list(read_episodes(copy))


def test_a_video_with_damage_inside(copy: Path) -> None:
    file = video(copy, "top")
    data = bytearray(file.read_bytes())
    middle = len(data) * 2 // 3
    data[middle : middle + 600] = np.random.default_rng(0).bytes(600)
    file.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"camera 'top': .*(broken|corrupt)"):
        list(read_episodes(copy))


def test_a_missing_video(copy: Path) -> None:
    video(copy, "hand").unlink()
    with pytest.raises(ValueError, match=r"episode 0, camera 'hand': .*missing"):
        list(read_episodes(copy))


def test_a_missing_or_broken_data_file(copy: Path) -> None:
    (file,) = copy.glob("data/*/*.parquet")
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"file-000.parquet.*episode 0, is broken"):
        list(read_episodes(copy))
    file.unlink()
    with pytest.raises(ValueError, match=r"file-000.parquet.*episode 0, is missing"):
        list(read_episodes(copy))


def edit(path: Path, change: "object") -> None:
    (file,) = path.glob("data/*/*.parquet")
    table = pq.read_table(file)
    pq.write_table(change(table), file)  # type: ignore[operator]


def test_rows_that_are_missing(copy: Path) -> None:
    edit(copy, lambda table: table.slice(0, 20))
    with pytest.raises(ValueError, match=r"file-000.parquet.*episode 1 should have 14 rows there, it has 11"):
        list(read_episodes(copy))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite(copy: Path, value: float) -> None:
    def spoil(table: pa.Table) -> pa.Table:
        actions = np.stack(table["action"].to_pylist()).astype(np.float32)
        actions[9 + 4, 1] = value
        column = table.column_names.index("action")
        return table.set_column(column, table.schema.field("action"), [pa.array(list(actions), table["action"].type)])

    edit(copy, spoil)
    episodes = read_episodes(copy)
    next(episodes)
    with pytest.raises(ValueError, match=rf"file-000.parquet.*episode 1, step 4: 'action' must be finite.*{value}"):
        next(episodes)


def test_unknown_episodes_and_cameras_are_refused_at_once(written: Path) -> None:
    with pytest.raises(ValueError, match=r"episodes 0..2, not 3"):
        read_episodes(written, [0, 3])
    with pytest.raises(ValueError, match=r"no camera 'tpo'; did you mean 'top'"):
        read_episodes(written, cameras=["tpo"])


def test_writing_refuses_what_does_not_fit(originals: list[Episode], tmp_path: Path) -> None:
    first = originals[0]
    actions = first.action.copy()
    actions[3, 1] = np.nan
    wrong = {
        r"episode 1 does not fit the first.*action \(2,\)": replace(first, action=first.action[:, :2]),
        r"episode 1 does not fit the first": replace(first, success=None),
        r"episode 1, step 3: action must be finite, got \[.*nan": replace(first, action=actions),
        r"camera 'top' must be uint8 9 h w 3, got uint8 \(8,": replace(
            first, frames={**first.frames, "top": first.frames["top"][1:]}
        ),
        r"whole frames per second, got 12.5": replace(first, fps=12.5),
    }
    for message, other in wrong.items():
        with pytest.raises(ValueError, match=message):
            write_dataset([first, other], tmp_path / "set")
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="no episodes to write"):
        write_dataset([], tmp_path / "set")
    with pytest.raises(ValueError, match="2 names for the 3 entries of 'action'"):
        write_dataset([first], tmp_path / "set", action_names=["a", "b"])
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(ValueError, match="exists already"):
        write_dataset([first], tmp_path / "taken")
