"""The episodes of a LeRobotDataset v3."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from cosmos_sim.data.annotations import Annotations, read_annotations
from cosmos_sim.data.captions import EpisodeCaption, read_captions
from cosmos_sim.data.clip_files import FileRecords
from cosmos_sim.data.clip_source import Item, whole_stride
from cosmos_sim.data.images import beside, beside_sizes
from cosmos_sim.data.lerobot_layout import DatasetInfo, choose_cameras, read_layout
from cosmos_sim.data.lerobot_rows import EpisodeTables, images, numbers, read_rows, sized
from cosmos_sim.data.origins import read_origins
from cosmos_sim.data.video import SequentialVideo, VideoHeader

StrideActions = Literal["sum", "last"]
_READERS = 16


@dataclass(frozen=True)
class _Entry:
    """What :class:`Item` has no place for: the episode, its cameras, and the row of its file at which it begins."""

    episode: int
    cameras: tuple[str, ...]
    first: int


class LeRobotSource:
    """The episodes of a LeRobotDataset v3, of any action dimension.

    An episode's caption is that of ``meta/captions.jsonl`` (where it has one for the camera alone, that one), or else
    its task. The variants of an augmented dataset are of one group with the episode that they were made from.

    Frame ``k`` is followed by action ``k``. A clip at the dataset's own rate has the dataset's own actions; at an
    integer part of it only if ``stride_actions`` says what becomes of those between two frames: their ``"sum"`` (right
    for displacements) or the ``"last"`` (right for targets).

    Args:
        path: a folder, the name of a dataset recorded on this machine, or a hub id.
        cameras: the cameras to take; all of them by default.
        side_by_side: one video of all cameras, next to each other, instead of one each.

    Raises:
        ValueError: there is no such dataset or camera.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        cameras: Sequence[str] | None = None,
        side_by_side: bool = False,
        stride_actions: StrideActions | None = None,
    ) -> None:
        self.name = str(path)
        self._layout = read_layout(path)
        self._origins = read_origins(self._layout.info.path, self._layout.info.episodes)
        chosen = choose_cameras(self._layout.info, cameras)
        if not chosen:
            raise ValueError(f"{self.name!r} needs a camera, got none of {list(self._layout.info.cameras)}")
        self._views = [chosen] if side_by_side else [(camera,) for camera in chosen]
        self._stride_actions = stride_actions
        self._entries: list[_Entry] = []
        self._actions: dict[int, ndarray] = {}

    @property
    def action_dim(self) -> int:
        return self._layout.info.action_dim

    def items(self, files: FileRecords) -> Sequence[Item]:
        headers, captions = self._headers(files), read_captions(self._layout.info.path)
        tables = EpisodeTables(self._layout, ["action", "task_index"])
        items, entries = [], []
        for episode in range(self._layout.info.episodes):
            task, first, broken = "", 0, None
            try:
                rows, first = tables.rows(episode), tables.first(episode)
                self._actions[episode] = numbers(self._layout, episode, rows, "action", finite=False)
                task = self._layout.task_names[rows["task_index"][0].as_py()]
            except (ValueError, KeyError) as error:
                broken = str(error)
            for cameras in self._views:
                entries.append(_Entry(episode, cameras, first))
                caption = captions.get(episode, EpisodeCaption(task) if task.strip() else None)
                items.append(self._item(entries[-1], caption, broken, headers))
        self._entries = entries
        return items

    def stride(self, item: int, fps: float) -> int:
        stride = whole_stride(self.name, self._layout.info.fps, fps)
        if stride > 1 and self._stride_actions is None:
            raise ValueError(
                f"{self.name!r} has {self._layout.info.fps:g} actions a second: at {fps:g} frames a second "
                f"stride_actions must say what becomes of {stride} actions between two frames, 'sum' or 'last'"
            )
        return stride

    def action(self, item: int, start: int, count: int, stride: int) -> Float32[ndarray, "count a"]:
        action = self._actions[self._entries[item].episode][start : start + count * stride]
        if len(action) != count * stride:
            raise ValueError(f"there are {len(action)} actions from step {start} on, {count * stride} are needed")
        grouped = action.reshape(count, stride, action.shape[1])
        return grouped.sum(axis=1) if self._stride_actions == "sum" else grouped[:, -1]

    def read(self, item: int, times: Sequence[float], *, within: float) -> UInt8[ndarray, "t h w c"]:
        entry = self._entries[item]
        return beside([self._read(entry, camera, times, within) for camera in entry.cameras])

    def annotations(self, item: int, times: Sequence[float]) -> Annotations:
        entry, info = self._entries[item], self._layout.info
        found = read_annotations(info.path, entry.episode)
        if found is None or len(found) != info.lengths[entry.episode] or not set(entry.cameras) <= set(found.cameras):
            has = "none" if found is None else f"some of {len(found)} frames of {', '.join(found.cameras)}"
            raise ValueError(
                f"annotations of {info.lengths[entry.episode]} frames of {', '.join(entry.cameras)} are needed, "
                f"{self.name!r} has {has} of episode {entry.episode}; cosmos-sim collect makes them with --annotate"
            )
        depth, segments = ({c: kind[c] for c in entry.cameras} for kind in (found.depth, found.segments))
        rows = np.rint(np.asarray(times) * info.fps).astype(np.int64)
        return Annotations(depth, segments, found.names).select(rows)

    def _read(self, entry: _Entry, camera: str, times: Sequence[float], within: float) -> UInt8[ndarray, "t h w c"]:
        layout, episode = self._layout, entry.episode
        if layout.features[camera].is_video:
            file, start = layout.video_file(episode, camera), layout.video_start(episode, camera)
            with SequentialVideo(file) as video:
                frames = video.nearest([start + time for time in times], within=within)
            return sized(frames, layout.info, episode, camera, file)
        rows = entry.first + np.rint(np.asarray(times) * layout.info.fps).astype(np.int64)
        table = read_rows(layout.data_file(episode), rows.tolist(), layout.features[camera].key)
        return images(layout, episode, camera, table)

    def _headers(self, files: FileRecords) -> dict[Path, VideoHeader | str]:
        """The header of each video file, or why it has none."""

        def header(file: Path) -> VideoHeader | str:
            try:
                return files.video(file)
            except ValueError as error:
                return str(error)

        videos = {c for view in self._views for c in view if self._layout.features[c].is_video}
        paths = {self._layout.video_file(e, c) for e in range(self._layout.info.episodes) for c in videos}
        with ThreadPoolExecutor(_READERS) as pool:
            return dict(zip(paths, pool.map(header, paths), strict=True))

    def _item(
        self,
        entry: _Entry,
        caption: EpisodeCaption | None,
        broken: str | None,
        headers: dict[Path, VideoHeader | str],
    ) -> Item:
        info, episode, cameras = self._layout.info, entry.episode, entry.cameras
        called = f"{self.name}: episode {episode}, camera{'s' * (len(cameras) > 1)} {', '.join(cameras)}"
        files: list[Path] = []
        places: list[tuple[str, float]] = []
        for camera in cameras:
            if not self._layout.features[camera].is_video:
                files.append(self._layout.data_file(episode))
                places.append((self._layout.features[camera].key, entry.first))
                continue
            files.append(self._layout.video_file(episode, camera))
            start = self._layout.video_start(episode, camera)
            places.append(("", start))
            header = headers[files[-1]]
            broken = broken or (header if isinstance(header, str) else _short(files[-1], header, start, episode, info))
        sizes = beside_sizes([info.cameras[camera] for camera in cameras])
        words = "" if caption is None else caption.of(cameras[0]) if len(cameras) == 1 else caption.caption
        return Item(
            name=called,
            group=str(self._origins[episode]),
            size=(sizes[0][0], sum(width for _, width in sizes)),
            fps=info.fps,
            length=info.lengths[episode],
            caption=words,
            files=tuple(files),
            place=json.dumps(places),
            views=tuple(width for _, width in sizes) if len(cameras) > 1 else (),
            broken=broken,
        )


def _short(file: Path, header: VideoHeader, start: float, episode: int, info: DatasetInfo) -> str | None:
    """Why a video cannot hold an episode from ``start`` on, if by its header it ends before."""
    ends, needed = header.start + header.frames / header.fps, start + (info.lengths[episode] - 0.5) / info.fps
    if ends >= needed:
        return None
    return f"{str(file)!r} ends at {ends:.3f} s, the {info.lengths[episode]} frames from {start:.3f} s on do not"
