"""Datasets copied with other pictures, read again by LeRobot itself, with LeRobot's statistics as the reference."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy import ndarray

from cosmos_sim.data.encoding import encode_video
from cosmos_sim.data.lerobot import read_episodes
from cosmos_sim.data.lerobot_copy import EpisodeCopy, copy_dataset
from cosmos_sim.data.lerobot_statistics import image_statistics, merge_statistics, number_statistics
from cosmos_sim.data.lerobot_writer import ENCODER

LENGTHS = (6, 9, 4)
SIZES = {"top": (34, 46), "hand": (26, 30), "side": (18, 22)}


def picture(episode: int, camera: str, steps: int) -> ndarray:
    """A video of one colour that grows brighter, with a dark corner."""
    rng = np.random.default_rng([episode, len(camera)])
    frames = np.empty((steps, *SIZES[camera], 3), np.uint8)
    frames[:] = rng.integers(40, 180, 3) + 5 * np.arange(steps)[:, None, None, None]
    frames[:, :8, :10] = 30
    return frames


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written by LeRobot: two cameras as video and one as images, and columns that this package does not know."""
    from lerobot.configs import RGBEncoderConfig
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    folder = tmp_path_factory.mktemp("source") / "set"
    features = {
        "observation.state": {"dtype": "float32", "shape": (5,), "names": None},
        "action": {"dtype": "float32", "shape": (3,), "names": ["x", "y", "z"]},
        "next.reward": {"dtype": "float32", "shape": (1,), "names": None},
        "next.success": {"dtype": "bool", "shape": (1,), "names": None},
        "effort": {"dtype": "float64", "shape": (2,), "names": None},
    }
    for camera, size in SIZES.items():
        dtype = "image" if camera == "hand" else "video"
        names = ["height", "width", "channels"]
        features[f"observation.images.{camera}"] = {"dtype": dtype, "shape": (*size, 3), "names": names}
    dataset = LeRobotDataset.create(
        "set",
        fps=10,
        features=features,
        root=folder,
        video_backend="pyav",
        rgb_encoder=RGBEncoderConfig(**ENCODER),
        streaming_encoding=True,
        encoder_queue_maxsize=0,
    )
    rng = np.random.default_rng(0)
    for episode, steps in enumerate(LENGTHS):
        frames = {f"observation.images.{camera}": picture(episode, camera, steps) for camera in SIZES}
        for step in range(steps):
            row = {key: images[step] for key, images in frames.items()}
            row |= {"observation.state": rng.normal(size=5).astype(np.float32), "effort": rng.normal(size=2)}
            row |= {"action": rng.normal(size=3).astype(np.float32), "task": f"task {episode % 2}"}
            row |= {"next.reward": np.float32([rng.normal()]), "next.success": np.array([step == steps - 1])}
            dataset.add_frame(row)
        dataset.save_episode()
    dataset.finalize()
    return folder


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, str], Path]:
    """New pictures of every episode and camera."""
    folder = tmp_path_factory.mktemp("new")
    for episode, steps in enumerate(LENGTHS):
        for camera in SIZES:
            data = encode_video(255 - picture(episode, camera, steps), fps=10)
            (folder / f"{episode}-{camera}.mp4").write_bytes(data)
    return {(episode, camera): folder / f"{episode}-{camera}.mp4" for episode in range(3) for camera in SIZES}


@pytest.fixture(scope="module")
def copied(source: Path, videos: dict[tuple[int, str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source's episodes 0 and 2, and both again: all cameras new, then only ``top`` and ``hand``."""
    folder = tmp_path_factory.mktemp("copy") / "set"
    folder.mkdir()
    new = [
        {camera: videos[episode, camera] for camera in cameras}
        for episode, cameras in ((0, SIZES), (2, ("top", "hand")))
    ]
    entries = [EpisodeCopy(0), EpisodeCopy(2), EpisodeCopy(0, new[0]), EpisodeCopy(2, new[1])]
    copy_dataset(source, folder, entries)
    return folder


def rows(folder: Path, episode: int) -> dict[str, list]:
    tables = [pq.read_table(file) for file in sorted(folder.glob("data/*/*.parquet"))]
    for table in tables:
        kept = table.filter(np.asarray(table["episode_index"]) == episode)
        if len(kept):
            return {name: kept[name].combine_chunks() for name in kept.column_names}
    raise AssertionError(f"no rows of episode {episode}")


def test_every_column_but_the_indices_and_the_pictures_is_the_same_bit_for_bit(source: Path, copied: Path) -> None:
    first = 0
    for made, original in enumerate((0, 2, 0, 2)):
        here, there = rows(copied, made), rows(source, original)
        assert here.keys() == there.keys()
        for name in here:
            assert here[name].type == there[name].type
            if name == "index":
                assert here[name].to_pylist() == list(range(first, first + LENGTHS[original]))
            elif name == "episode_index":
                assert set(here[name].to_pylist()) == {made}
            elif name != "observation.images.hand" or made < 2:
                assert here[name].equals(there[name]), name
        first += LENGTHS[original]
    schemas = [pq.read_schema(next(folder.glob("data/*/*.parquet"))) for folder in (source, copied)]
    assert schemas[0].equals(schemas[1], check_metadata=True)


def test_the_pictures_are_the_sources_or_the_new_ones(source: Path, copied: Path) -> None:
    originals = list(read_episodes(source))
    for k, made in enumerate(read_episodes(copied)):
        episode = (0, 2, 0, 2)[k]
        for camera in SIZES:
            if k == 2 or (k == 3 and camera != "side"):
                difference = made.frames[camera].astype(int) - (255 - picture(episode, camera, LENGTHS[episode]))
                assert np.abs(difference).mean() < 4
            else:
                np.testing.assert_array_equal(made.frames[camera], originals[episode].frames[camera])


def test_lerobot_opens_it_and_finds_the_same(source: Path, copied: Path) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    dataset = LeRobotDataset("set", root=copied, video_backend="pyav")
    original = LeRobotDataset("set", root=source, video_backend="pyav")
    assert (dataset.num_episodes, dataset.num_frames) == (4, 20)
    row, there = dataset[10 + 5], original[5]
    for key in ("action", "observation.state", "effort", "next.reward", "next.success", "timestamp"):
        np.testing.assert_array_equal(row[key], there[key])
    assert row["task"] == "task 0"
    for camera in SIZES:
        image = (row[f"observation.images.{camera}"].numpy() * 255).transpose(1, 2, 0)
        assert np.abs(image - (255 - picture(0, camera, 6)[5])).mean() < 4
    shared = dataset[16 + 2]["observation.images.side"], original[15 + 2]["observation.images.side"]
    np.testing.assert_array_equal(*shared)


def test_the_statistics_are_lerobots_of_what_is_seen(copied: Path) -> None:
    from lerobot.datasets.compute_stats import aggregate_stats, get_feature_stats

    stats = json.loads((copied / "meta" / "stats.json").read_text())
    table = pq.read_table(next(copied.glob("meta/episodes/*/*.parquet")))
    parts: list[dict[str, dict[str, ndarray]]] = []
    for row in table.to_pylist():
        parts.append({})
        for column, value in row.items():
            if column.startswith("stats/"):
                feature, _, name = column.removeprefix("stats/").rpartition("/")
                parts[-1].setdefault(feature, {})[name] = np.asarray(value)
    for feature, values in aggregate_stats(parts).items():
        for name, value in values.items():
            np.testing.assert_allclose(stats[feature][name], value, rtol=1e-12, err_msg=f"{feature} {name}")
    for k, episode in enumerate(read_episodes(copied)):
        for camera, frames in episode.frames.items():
            channels_first = frames.transpose(0, 3, 1, 2)
            expected = get_feature_stats(channels_first, axis=(0, 2, 3), keepdims=True)
            for name, value in expected.items():
                found = parts[k][f"observation.images.{camera}"][name]
                if name != "count":
                    np.testing.assert_allclose(found, value[0] / 255, atol=0.012, err_msg=f"{k} {camera} {name}")
        np.testing.assert_array_equal(parts[k]["episode_index"]["mean"], [k])


def test_statistics_against_numpy() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 7, 5, 3), dtype=np.uint8)
    found = image_statistics(frames, ["min", "max", "mean", "std", "q01", "q50", "q99"])
    flat = frames.reshape(-1, 3) / 255
    for name, expected in (("min", flat.min(0)), ("max", flat.max(0)), ("mean", flat.mean(0)), ("std", flat.std(0))):
        np.testing.assert_allclose(np.squeeze(found[name]), expected, atol=1e-12)
    for name, share in (("q01", 0.01), ("q50", 0.5), ("q99", 0.99)):
        expected = np.quantile(flat, share, axis=0, method="inverted_cdf")
        np.testing.assert_allclose(np.squeeze(found[name]), expected, atol=1e-12)
    assert np.shape(found["mean"]) == (3, 1, 1)
    numbers = np.arange(13, 24)
    assert number_statistics(numbers, ["mean", "count", "q50", "max"]) == {
        "mean": [18.0],
        "count": [11],
        "q50": [18.0],
        "max": [23.0],
    }
    halves = [
        {"x": {k: np.asarray(v) for k, v in number_statistics(part, ["min", "max", "mean", "std", "count"]).items()}}
        for part in (numbers[:4], numbers[4:])
    ]
    merged = merge_statistics(halves)["x"]
    np.testing.assert_allclose(merged["std"], [numbers.std()])
    np.testing.assert_allclose(merged["mean"], [numbers.mean()])


def test_many_new_videos_share_a_file_after_the_sources(source: Path, videos: dict, tmp_path: Path) -> None:
    info = source / "meta" / "info.json"
    text = info.read_text()
    limit = sum(videos[e, "top"].stat().st_size for e in (0, 1)) / 1e6 + 1e-5
    info.write_text(json.dumps({**json.loads(text), "video_files_size_in_mb": limit, "chunks_size": 2}))
    try:
        entries = [EpisodeCopy(0), *(EpisodeCopy(e, {"top": videos[e, "top"]}) for e in (0, 1, 2))]
        copy_dataset(source, tmp_path, entries)
    finally:
        info.write_text(text)
    names = sorted(p.relative_to(tmp_path / "videos").as_posix() for p in tmp_path.glob("videos/*top/*/*.mp4"))
    assert [name.partition("/")[2] for name in names] == [
        "chunk-000/file-000.mp4",
        "chunk-000/file-001.mp4",
        "chunk-001/file-000.mp4",
    ]
    for k, made in enumerate(read_episodes(tmp_path, range(1, 4), ["top"])):
        assert np.abs(made.frames["top"].astype(int) - (255 - picture(k, "top", LENGTHS[k]))).mean() < 4


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "no episodes of"),
        ([EpisodeCopy(3)], r"has episodes 0\.\.2, not 3"),
        ([EpisodeCopy(0, {"left": Path("x")})], "has cameras .*, not 'left'"),
        ([EpisodeCopy(1, {"top": Path("short")})], "holds 6 frames, not 9"),
    ],
)
def test_what_cannot_be_copied_is_named(
    source: Path, videos: dict[tuple[int, str], Path], tmp_path: Path, entries: list[EpisodeCopy], message: str
) -> None:
    made = [EpisodeCopy(e.source, {camera: videos[0, "top"] for camera in e.videos}) for e in entries]
    with pytest.raises(ValueError, match=message):
        copy_dataset(source, tmp_path, made)
