"""Episodes out of a LeRobotDataset v3, and back into one.

Row ``k`` of a dataset holds the observation before action ``k``; ``next.reward`` and ``next.success`` come after it.
Cameras are the features ``observation.images.<camera>``, proprioception is ``observation.state``.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, UInt8
from numpy import ndarray

from cosmos_sim.data.lerobot_layout import DatasetInfo, Layout, choose_cameras, read_layout
from cosmos_sim.data.lerobot_rows import EpisodeTables, images, numbers, sized
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
    path: str | Path,
    episodes: Sequence[int] | None = None,
    cameras: Sequence[str] | None = None,
    *,
    videos_alone: bool = False,
) -> Iterator[Episode]:
    """Decode the episodes of a dataset one after the other.

    Args:
        path: as for :func:`dataset_info`.
        episodes: indices of the episodes to read, in the order wanted; all of them by default.
        cameras: the cameras to decode; all of them by default.
        videos_alone: read frames and tasks; actions and states, which need not be there, are of size 0.

    Yields:
        Episodes, with ``info["episode_index"]``. Numbers are turned into ``float32``; ``reward`` and ``success`` are
        ``None`` where the dataset has none.

    Raises:
        ValueError: at once for an unknown episode or camera; while reading, naming file and episode, for a video that
            is missing, broken or too short, for rows that are missing, and for numbers that are not finite.
    """
    layout = read_layout(path, videos_alone=videos_alone)
    chosen = range(layout.info.episodes) if episodes is None else list(episodes)
    for episode in chosen:
        if not 0 <= episode < layout.info.episodes:
            raise ValueError(f"{str(path)!r} has episodes 0..{layout.info.episodes - 1}, not {episode}")
    return _read(layout, chosen, choose_cameras(layout.info, cameras))


def _read(layout: Layout, episodes: Sequence[int], cameras: Sequence[str]) -> Iterator[Episode]:
    tables = EpisodeTables(
        layout, [*layout.columns, *(layout.features[c].key for c in cameras if not layout.features[c].is_video)]
    )
    videos = _Videos(layout)
    try:
        for episode in episodes:
            rows = tables.rows(episode)
            frames = {
                camera: videos.frames(episode, camera)
                if layout.features[camera].is_video
                else images(layout, episode, camera, rows)
                for camera in cameras
            }
            yield Episode(
                frames=frames,
                state=_vectors(layout, episode, rows, "observation.state"),
                action=_vectors(layout, episode, rows, "action"),
                task=layout.task_names[rows["task_index"][0].as_py()],
                success=numbers(layout, episode, rows, "next.success")[:, 0] > 0.5 if layout.info.has_success else None,
                reward=numbers(layout, episode, rows, "next.reward")[:, 0] if layout.info.has_reward else None,
                fps=layout.info.fps,
                info={"episode_index": episode},
            )
    finally:
        videos.close()


def _vectors(layout: Layout, episode: int, rows: pa.Table, column: str) -> Float32[ndarray, "t n"]:
    if column not in layout.columns:
        return np.empty((len(rows), 0), np.float32)
    return numbers(layout, episode, rows, column)


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
        return sized(frames, info, episode, camera, file)

    def close(self) -> None:
        for video in self._open.values():
            video.close()
