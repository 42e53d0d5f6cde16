"""Episodes out of a LeRobotDataset v3, and back into one.

Row ``k`` of a dataset holds the observation before action ``k``; ``next.reward`` and ``next.success`` come after it.
Cameras are the features ``observation.images.<camera>``, proprioception is ``observation.state``.
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from cosmos_sim.data.lerobot_layout import DatasetInfo, Layout, choose_cameras, read_layout
from cosmos_sim.data.lerobot_writer import write_dataset
from cosmos_sim.data.video import SequentialVideo
from cosmos_sim.types import Episode

__all__ = ["DatasetInfo", "dataset_info", "read_episodes", "write_dataset"]


def dataset_info(path: str | Path) -> DatasetInfo:
    """What the dataset at ``path`` holds, from its metadata alone.

    ``path`` is a folder, the name of a dataset that LeRobot recorded on this machine, or a hub id.

    Raises:
        ValueError: if there is no dataset, or it has no camera, no ``action`` or no ``observation.state``.
    """
    return read_layout(path).info


def read_episodes(
    path: str | Path, episodes: Sequence[int] | None = None, cameras: Sequence[str] | None = None
) -> Iterator[Episode]:
    """Decode the episodes of a dataset one after the other.

    Args:
        path: as for :func:`dataset_info`.
        episodes: indices of the episodes to read, in the order wanted; all of them by default.
        cameras: the cameras to decode; all of them by default.

    Yields:
        Episodes, with ``info["episode_index"]``. Numbers are turned into ``float32``; ``reward`` and ``success`` are
        ``None`` where the dataset has none.

    Raises:
        ValueError: at once for an unknown episode or camera; while reading, naming file and episode, for a video that
            is missing, broken or too short, for rows that are missing, and for numbers that are not finite.
    """
    layout = read_layout(path)
    chosen = range(layout.info.episodes) if episodes is None else list(episodes)
    for episode in chosen:
        if not 0 <= episode < layout.info.episodes:
            raise ValueError(f"{str(path)!r} has episodes 0..{layout.info.episodes - 1}, not {episode}")
    return _read(layout, chosen, choose_cameras(layout.info, cameras))


def _read(layout: Layout, episodes: Sequence[int], cameras: Sequence[str]) -> Iterator[Episode]:
    tables = _Tables(layout, [layout.features[c].key for c in cameras if not layout.features[c].is_video])
    videos = _Videos(layout)
    try:
        for episode in episodes:
            rows = tables.rows(episode)
            frames = {
                camera: videos.frames(episode, camera)
                if layout.features[camera].is_video
                else _images(layout, episode, camera, rows)
                for camera in cameras
            }
            yield Episode(
                frames=frames,
                state=_numbers(layout, episode, rows, "observation.state"),
                action=_numbers(layout, episode, rows, "action"),
                task=layout.task_names[rows["task_index"][0].as_py()],
                success=_numbers(layout, episode, rows, "next.success")[:, 0] > 0.5
                if layout.info.has_success
                else None,
                reward=_numbers(layout, episode, rows, "next.reward")[:, 0] if layout.info.has_reward else None,
                fps=layout.info.fps,
                info={"episode_index": episode},
            )
    finally:
        videos.close()


class _Tables:
    """The rows of episodes, with the last data file kept open: a file holds many episodes."""

    def __init__(self, layout: Layout, image_keys: Sequence[str]) -> None:
        self._layout = layout
        self._columns = [*layout.columns, *image_keys]
        self._file: Path | None = None

    def rows(self, episode: int) -> pa.Table:
        file = self._layout.data_file(episode)
        if file != self._file:
            if not file.is_file():
                raise ValueError(f"{str(file)!r}, which holds episode {episode}, is missing")
            try:
                self._table = pq.read_table(file, columns=self._columns)
            except (pa.ArrowException, OSError) as error:
                raise ValueError(f"{str(file)!r}, which holds episode {episode}, is broken: {error}") from error
            self._index, self._file = self._table["episode_index"].to_numpy(), file
        found = np.flatnonzero(self._index == episode)
        length = self._layout.info.lengths[episode]
        if len(found) != length or found[-1] - found[0] + 1 != length:
            raise ValueError(f"{str(file)!r}: episode {episode} should have {length} rows there, it has {len(found)}")
        return self._table.slice(int(found[0]), length)


class _Videos:
    """One open video for each camera, because the next episode is mostly in the same file."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._open: dict[str, SequentialVideo] = {}

    def frames(self, episode: int, camera: str) -> UInt8[ndarray, "t h w c"]:
        file = self._layout.video_file(episode, camera)
        info = self._layout.info
        try:
            if camera not in self._open or self._open[camera].path != file:
                if camera in self._open:
                    self._open.pop(camera).close()
                self._open[camera] = SequentialVideo(file)
            start = self._layout.video_start(episode, camera)
            frames = self._open[camera].read(start, info.lengths[episode], fps=info.fps)
        except ValueError as error:
            raise ValueError(f"episode {episode}, camera {camera!r}: {error}") from error
        return _sized(frames, info, episode, camera, file)

    def close(self) -> None:
        for video in self._open.values():
            video.close()


def _images(layout: Layout, episode: int, camera: str, rows: pa.Table) -> UInt8[ndarray, "t h w c"]:
    """The frames of a camera whose images lie in the data file itself."""
    file, images = layout.data_file(episode), []
    for index, entry in enumerate(rows[layout.features[camera].key].to_pylist()):
        try:
            data = entry["bytes"] if entry["bytes"] is not None else (layout.info.path / entry["path"]).read_bytes()
            images.append(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
        except (OSError, TypeError) as error:
            raise ValueError(
                f"{str(file)!r}: episode {episode}, camera {camera!r}, image {index} is broken: {error}"
            ) from error
    if len({image.shape for image in images}) != 1:
        raise ValueError(f"{str(file)!r}: episode {episode}, camera {camera!r} has images of different sizes")
    return _sized(np.stack(images), layout.info, episode, camera, file)


def _sized(frames: ndarray, info: DatasetInfo, episode: int, camera: str, file: Path) -> UInt8[ndarray, "t h w c"]:
    if frames.shape[1:3] != info.cameras[camera]:
        raise ValueError(
            f"{str(file)!r}: episode {episode}, camera {camera!r} is {frames.shape[1:3]} pixels, "
            f"info.json says {info.cameras[camera]}"
        )
    return frames


def _numbers(layout: Layout, episode: int, rows: pa.Table, column: str) -> ndarray:
    """A numeric column as finite ``float32`` of shape ``t n`` (``n = 1`` for a column of scalars)."""
    array = rows[column].combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    width = {"action": layout.info.action_dim, "observation.state": layout.info.state_dim}.get(column, 1)
    nested = (
        pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type) or pa.types.is_large_list(array.type)
    )
    flat = (array.flatten() if nested else array).to_numpy(zero_copy_only=False)
    where = f"{str(layout.data_file(episode))!r}: episode {episode}"
    if len(flat) != len(rows) * width:
        raise ValueError(f"{where}: {column!r} holds {len(flat)} numbers in {len(rows)} rows, expected {width} in each")
    with np.errstate(over="ignore"):
        values = flat.astype(np.float32).reshape(len(rows), width)
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise ValueError(f"{where}, step {row}: {column!r} must be finite, it is {values[row].tolist()}")
    return values
