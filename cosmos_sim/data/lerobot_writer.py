"""Episodes into a LeRobotDataset v3, written by LeRobot's own classes."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cosmos_sim.types import Episode

ENCODER: dict[str, Any] = {
    "vcodec": "h264",
    "pix_fmt": "yuv444p",
    "crf": 12,
    "preset": "fast",
    "g": 4,
    "extra_options": {"tune": "grain", "bf": "0", "x264-params": "mbtree=0"},
}
"""How frames are encoded. Worlds are trained on these videos, so colour is kept at full resolution: on 128x128 frames
4:2:0 costs 9 dB on the pixels of a coloured cube whatever the rate. A key frame every fourth keeps LeRobot's random
access quick; without B frames, time stamps stay exact when LeRobot joins the episodes' videos. x264's macroblock tree
is off: with it the same frames gave other bytes in 227 of 9,972 encodings, without in none."""

_VIDEO_FILE_MB = 32
"""LeRobot copies the whole last video file for every episode it appends, so files are kept small."""


def write_dataset(
    episodes: Iterable[Episode],
    path: str | Path,
    *,
    robot_type: str | None = None,
    state_names: Sequence[str] | None = None,
    action_names: Sequence[str] | None = None,
) -> Path:
    """Write ``episodes``, in order, as a LeRobotDataset v3 at ``path``, which must not exist or be an empty folder.

    Cameras, sizes, dimensions and the presence of reward and success are those of the first episode. The dataset is
    written beside ``path`` and renamed, so that ``path`` is complete or is not there.

    Args:
        episodes: at least one, each of two steps or more; they may be produced while writing.
        path: the folder to make.
        robot_type: recorded in ``info.json``.
        state_names: names of the entries of ``observation.state``.
        action_names: names of the entries of ``action``.

    Raises:
        ValueError: if ``path`` is taken, there is no episode, or one is inconsistent with the first or not finite.
        OSError: if the disk is full or cannot be written.
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"{str(path)!r} exists already and is not empty")
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.writing")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        _write(episodes, beside, path.name, robot_type, {"observation.state": state_names, "action": action_names})
        beside.rename(path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return path


def _write(
    episodes: Iterable[Episode],
    folder: Path,
    name: str,
    robot_type: str | None,
    names: dict[str, Sequence[str] | None],
) -> None:
    import av.logging
    import datasets
    from lerobot.configs import RGBEncoderConfig
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    quiet = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    av.logging.set_libav_level(av.logging.ERROR)  # LeRobot lets the encoder tell its statistics for every episode
    dataset: Any = None
    features: dict[str, dict[str, Any]] = {}
    try:
        for index, episode in enumerate(episodes):
            _check(episode, index)
            if dataset is None:
                features = _features(episode, names)
                dataset = LeRobotDataset.create(
                    repo_id=name,
                    fps=int(episode.fps),
                    features=features,
                    root=folder,
                    robot_type=robot_type,
                    video_backend="pyav",
                    rgb_encoder=RGBEncoderConfig(**ENCODER),
                    streaming_encoding=True,
                    encoder_queue_maxsize=0,  # unbounded: a bounded queue drops frames when encoding lags
                    encoder_threads=1,  # one thread encodes the same bytes every time
                    video_files_size_in_mb=_VIDEO_FILE_MB,
                )
            found = _features(episode, names)
            if found != features or int(episode.fps) != dataset.fps:
                raise ValueError(
                    f"episode {index} does not fit the first: {_brief(found)} at {episode.fps} fps, "
                    f"expected {_brief(features)} at {dataset.fps} fps"
                )
            _add(dataset, episode)
        if dataset is None:
            raise ValueError(f"no episodes to write to {str(folder.parent / name)!r}")
        dataset.finalize()
        _sort(folder / "meta" / "stats.json")
        for video in folder.glob("videos/*/*/*.mp4"):
            shutil.copymode(folder / "meta" / "info.json", video)  # LeRobot leaves them readable by the owner alone
    except RuntimeError as error:
        raise OSError(f"cannot write the dataset {name!r}: {error}") from error
    finally:
        if dataset is not None:
            dataset.writer.cancel_pending_videos()
            with contextlib.suppress(Exception):
                dataset.finalize()  # after a failure too: the garbage collector would do it in a folder that is gone
        if not quiet:
            datasets.enable_progress_bars()


def _sort(file: Path) -> None:
    """LeRobot writes the features' statistics in the order of a set, which differs from run to run."""
    file.write_text(json.dumps(json.loads(file.read_text()), indent=4, sort_keys=True))


def _add(dataset: Any, episode: Episode) -> None:
    for step in range(len(episode)):
        row: dict[str, Any] = {
            f"observation.images.{camera}": np.ascontiguousarray(frames[step])
            for camera, frames in episode.frames.items()
        }
        row |= {"observation.state": episode.state[step], "action": episode.action[step], "task": episode.task}
        if episode.reward is not None:
            row["next.reward"] = np.asarray([episode.reward[step]], dtype=np.float32)
        if episode.success is not None:
            row["next.success"] = np.asarray([episode.success[step]], dtype=bool)
        dataset.add_frame(row)
    dataset.save_episode()


def _features(episode: Episode, names: dict[str, Sequence[str] | None]) -> dict[str, dict[str, Any]]:
    """LeRobot's description of what an episode holds."""
    features: dict[str, dict[str, Any]] = {
        f"observation.images.{camera}": {
            "dtype": "video",
            "shape": tuple(frames.shape[1:]),
            "names": ["height", "width", "channels"],
        }
        for camera, frames in episode.frames.items()
    }
    for key, values in (("observation.state", episode.state), ("action", episode.action)):
        given = names[key]
        if given is not None and len(given) != values.shape[1]:
            raise ValueError(f"{len(given)} names for the {values.shape[1]} entries of {key!r}: {list(given)}")
        features[key] = {"dtype": "float32", "shape": (values.shape[1],), "names": list(given) if given else None}
    if episode.reward is not None:
        features["next.reward"] = {"dtype": "float32", "shape": (1,), "names": None}
    if episode.success is not None:
        features["next.success"] = {"dtype": "bool", "shape": (1,), "names": None}
    return features


def _brief(features: dict[str, dict[str, Any]]) -> str:
    return ", ".join(f"{name} {tuple(feature['shape'])}" for name, feature in features.items())


def _check(episode: Episode, index: int) -> None:
    steps = len(episode)
    if steps < 2:
        raise ValueError(f"episode {index} has {steps} steps; a dataset needs at least 2 in each")
    if not episode.frames:
        raise ValueError(f"episode {index} has no camera")
    if episode.fps != int(episode.fps) or episode.fps <= 0:
        raise ValueError(f"LeRobot stores whole frames per second, got {episode.fps} for episode {index}")
    for camera, frames in episode.frames.items():
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or len(frames) != steps:
            raise ValueError(
                f"episode {index}: camera {camera!r} must be uint8 {steps} h w 3, got {frames.dtype} {frames.shape}"
            )
    for key, values in (("state", episode.state), ("action", episode.action)):
        if values.dtype != np.float32 or values.ndim != 2 or len(values) != steps:
            raise ValueError(f"episode {index}: {key} must be float32 {steps} n, got {values.dtype} {values.shape}")
        if not np.isfinite(values).all():
            step = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
            raise ValueError(f"episode {index}, step {step}: {key} must be finite, got {values[step].tolist()}")
    for key, outcome in (("reward", episode.reward), ("success", episode.success)):
        if outcome is not None and outcome.shape != (steps,):
            raise ValueError(f"episode {index}: {key} must be of shape ({steps},), got {outcome.shape}")
