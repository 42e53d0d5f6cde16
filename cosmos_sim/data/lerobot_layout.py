"""Where everything of a LeRobotDataset v3 lies, read from its metadata alone.

The layout is LeRobot's (``meta/info.json``, ``meta/episodes``, ``meta/tasks.parquet``); it is read here without
importing LeRobot, which takes seconds, so that a learned world that starts from a dataset's episodes opens at once.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_NUMERIC = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "bool")


@dataclass(frozen=True)
class DatasetInfo:
    """What a dataset holds, known without decoding any of it."""

    path: Path
    fps: float
    cameras: Mapping[str, tuple[int, int]]
    """Camera name (the part after ``observation.images.``) to ``(height, width)`` in pixels."""
    state_dim: int
    action_dim: int
    tasks: tuple[str, ...]
    lengths: tuple[int, ...]
    """Steps of each episode."""
    has_reward: bool
    has_success: bool
    episode_tasks: tuple[str, ...] = ()
    """The task text of each episode; the first, where it has several."""
    robot_type: str | None = None
    state_names: tuple[str, ...] | None = None
    action_names: tuple[str, ...] | None = None

    @property
    def episodes(self) -> int:
        return len(self.lengths)

    @property
    def steps(self) -> int:
        return sum(self.lengths)


@dataclass(frozen=True)
class CameraFeature:
    """One camera of a dataset: its LeRobot key and whether its frames are video or images inside the data files."""

    key: str
    is_video: bool
    size: tuple[int, int]


@dataclass(frozen=True)
class Layout:
    """A :class:`DatasetInfo` and where each episode lies in the dataset's files."""

    info: DatasetInfo
    features: Mapping[str, CameraFeature]
    columns: tuple[str, ...]
    task_names: Mapping[int, str]
    rows: Sequence[Mapping[str, Any]]
    """LeRobot's metadata of each episode: file indices and time stamps."""
    data_path: str
    video_path: str

    def data_file(self, episode: int) -> Path:
        row = self.rows[episode]
        return self.info.path / self.data_path.format(
            chunk_index=row["data/chunk_index"], file_index=row["data/file_index"]
        )

    def video_file(self, episode: int, camera: str) -> Path:
        key, row = self.features[camera].key, self.rows[episode]
        return self.info.path / self.video_path.format(
            video_key=key,
            chunk_index=row[f"videos/{key}/chunk_index"],
            file_index=row[f"videos/{key}/file_index"],
        )

    def video_start(self, episode: int, camera: str) -> float:
        """Seconds into :meth:`video_file` at which the episode begins."""
        return float(self.rows[episode][f"videos/{self.features[camera].key}/from_timestamp"])


def find_dataset(path: str | Path) -> Path:
    """The folder of a dataset: a folder itself, one that LeRobot recorded under its home, or a hub id to download.

    Raises:
        ValueError: if ``path`` is none of them.
    """
    folder = Path(path)
    if (folder / "meta" / "info.json").is_file():
        return folder
    name = str(path)
    if folder.exists() or not re.fullmatch(r"\w[\w.-]*/[\w.-]+", name):
        raise ValueError(f"no LeRobot dataset at {name!r}: {str(folder / 'meta' / 'info.json')!r} is missing")
    home = os.environ.get("HF_LEROBOT_HOME") or Path(
        os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface", "lerobot"
    )
    recorded = Path(home).expanduser() / name
    if (recorded / "meta" / "info.json").is_file():
        return recorded
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, repo_type="dataset", revision="v3.0"))
    except Exception as error:
        raise ValueError(
            f"no LeRobot dataset {name!r}: neither a folder, nor recorded in {str(home)!r}, nor to be had from the hub "
            f"({type(error).__name__})"
        ) from error


def read_layout(path: str | Path, *, videos_alone: bool = False) -> Layout:
    """Read the metadata of the dataset at ``path`` (a folder or hub id, see :func:`find_dataset`).

    With ``videos_alone`` it may lack actions and states, and those that it has are left out, as are its rewards and
    successes: their sizes are 0.

    Raises:
        ValueError: naming what is missing or wrong.
    """
    root = find_dataset(path)
    file = root / "meta" / "info.json"
    try:
        raw = json.loads(file.read_text())
        version, features, fps = str(raw["codebase_version"]), raw["features"], float(raw["fps"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{str(file)!r} is not the description of a LeRobot dataset: {error!r}") from error
    if not version.startswith("v3."):
        raise ValueError(
            f"{str(root)!r} is a LeRobot dataset of version {version!r}; convert it to v3.0 with LeRobot first"
        )
    rows = _episode_rows(root)
    if len(rows) != raw["total_episodes"]:
        raise ValueError(
            f"{str(root)!r}: info.json says {raw['total_episodes']} episodes, meta/episodes has {len(rows)}"
        )
    cameras = _cameras(root, features)
    tasks = _tasks(root)
    vectors = () if videos_alone else ("observation.state", "action")
    sizes = {name: _vector(root, features, name) for name in vectors}
    columns = [name for name in ("next.reward", "next.success") if name in features and not videos_alone]
    info = DatasetInfo(
        path=root,
        fps=fps,
        cameras={name: camera.size for name, camera in cameras.items()},
        state_dim=sizes.get("observation.state", 0),
        action_dim=sizes.get("action", 0),
        tasks=tuple(tasks.values()),
        lengths=tuple(int(row["length"]) for row in rows),
        has_reward="next.reward" in columns,
        has_success="next.success" in columns,
        episode_tasks=tuple(str(next(iter(row.get("tasks") or ()), "")) for row in rows),
        robot_type=raw.get("robot_type"),
        state_names=_names(features.get("observation.state", {})),
        action_names=_names(features.get("action", {})),
    )
    return Layout(
        info=info,
        features=cameras,
        columns=("episode_index", "task_index", *vectors, *columns),
        task_names=tasks,
        rows=rows,
        data_path=raw["data_path"],
        video_path=raw.get("video_path") or "",
    )


def choose_cameras(info: DatasetInfo, cameras: Sequence[str] | None) -> tuple[str, ...]:
    """``cameras`` if the dataset has them all (all that it has, for ``None``), else :class:`ValueError`."""
    for camera in cameras or ():
        if camera not in info.cameras:
            close = get_close_matches(camera, info.cameras, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(map(repr, info.cameras))}"
            raise ValueError(f"{str(info.path)!r} has no camera {camera!r}; {hint}")
    return tuple(info.cameras) if cameras is None else tuple(cameras)


def _episode_rows(root: Path) -> list[dict[str, Any]]:
    tables = []
    for file in sorted((root / "meta" / "episodes").glob("*/*.parquet")):
        try:
            names = pq.read_schema(file).names
            tables.append(pq.read_table(file, columns=[name for name in names if not name.startswith("stats/")]))
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{str(file)!r} is not a readable parquet file: {error}") from error
    if not tables:
        raise ValueError(f"{str(root)!r} holds no episodes: meta/episodes is empty (was the recording finalised?)")
    return sorted(
        pa.concat_tables(tables, promote_options="default").to_pylist(), key=lambda row: int(row["episode_index"])
    )


def _tasks(root: Path) -> dict[int, str]:
    file = root / "meta" / "tasks.parquet"
    if not file.is_file():
        raise ValueError(f"{str(file)!r} is missing")
    table = pq.read_table(file)
    names = next(name for name in table.column_names if name != "task_index")
    return dict(zip(table["task_index"].to_pylist(), table[names].to_pylist(), strict=True))


def _cameras(root: Path, features: Mapping[str, Any]) -> dict[str, CameraFeature]:
    """The RGB cameras. Depth maps are left out: a world is made of colour."""
    cameras = {}
    for key, feature in features.items():
        if feature["dtype"] not in ("video", "image") or (feature.get("info") or {}).get("is_depth_map"):
            continue
        shape, names = list(feature["shape"]), list(feature.get("names") or [])
        channel_first = names[:1] == ["channels"] or (not names and shape[0] == 3)
        height, width = shape[1:] if channel_first else shape[:2]
        name = key.removeprefix("observation.").removeprefix("images.")
        cameras[name] = CameraFeature(key, feature["dtype"] == "video", (int(height), int(width)))
    if not cameras:
        raise ValueError(f"{str(root)!r} has no camera; its features are {', '.join(features)}")
    return cameras


def _names(feature: Mapping[str, Any]) -> tuple[str, ...] | None:
    """What the entries of a vector are called, where the dataset says it entry by entry."""
    names = feature.get("names")
    return tuple(map(str, names)) if isinstance(names, list) and len(names) == feature["shape"][0] else None


def _vector(root: Path, features: Mapping[str, Any], name: str) -> int:
    """The length of the numeric vector feature ``name``."""
    if name not in features:
        raise ValueError(f"{str(root)!r} has no feature {name!r}; its features are {', '.join(features)}")
    feature = features[name]
    if feature["dtype"] not in _NUMERIC or len(feature["shape"]) != 1:
        raise ValueError(
            f"{str(root)!r}: {name!r} must be a vector of numbers, it is {feature['dtype']} of shape {feature['shape']}"
        )
    return int(feature["shape"][0])
