"""Bridge in the layout of IRASim (Zhu et al. 2024), from which Cosmos-Predict2.5's action model was trained."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8
from numpy import ndarray
from scipy.spatial.transform import Rotation

from cosmos_sim.data.annotations import Annotations
from cosmos_sim.data.clip_files import FileRecords
from cosmos_sim.data.clip_source import Item, whole_stride
from cosmos_sim.data.images import beside, beside_sizes
from cosmos_sim.data.video import SequentialVideo, VideoHeader

SCALE = (20.0, 20.0, 20.0, 20.0, 20.0, 20.0, 1.0)
"""What the actions are multiplied by."""

_READERS = 16


def relative_actions(state: Float[ndarray, "n 6"], gripper: Float[ndarray, "n"]) -> Float32[ndarray, "n-1 7"]:
    """The action between each of ``n`` states (x, y, z in metres; roll, pitch, yaw in radians) and the next.

    ``action_k = [R_k^T (p_{k+1} - p_k), euler(R_k^T R_{k+1}), gripper_{k+1}] * [20, 20, 20, 20, 20, 20, 1]`` with
    ``R = Rz(yaw) Ry(pitch) Rx(roll)`` and ``euler`` its inverse: the motion in the hand's own frame, as
    Cosmos-Predict2.5 takes it from IRASim. Rows next to a state that is not finite are not finite.
    """
    good = np.isfinite(state).all(axis=1)
    rotation = Rotation.from_euler("xyz", np.where(good[:, None], state[:, 3:6], 0.0))  # small letters: fixed axes
    back = rotation[:-1].inv()
    action = np.empty((len(state) - 1, 7))
    action[:, :3] = back.apply(np.diff(state[:, :3], axis=0))
    action[:, 3:6] = (back * rotation[1:]).as_euler("xyz")
    action[:, 6] = gripper[1:]
    action[~(good[:-1] & good[1:])] = np.nan
    return (action * SCALE).astype(np.float32)


@dataclass(frozen=True, eq=False)
class _Entry:
    """What :class:`Item` has no place for."""

    state: Float[ndarray, "n 6"]
    gripper: Float[ndarray, "n"]
    files: tuple[Path, ...]
    starts: tuple[float, ...]
    """The time stamp of the first frame of each video."""


_NOTHING = _Entry(np.empty((0, 6)), np.empty(0), (), ())


class BridgeSource:
    """The folder of a dataset as IRASim lays it out.

    ``annotation/{train,val}/*.json`` hold ``state`` (n rows of x, y, z, roll, pitch, yaw; more columns are not
    looked at), ``continuous_gripper_state`` (n), ``videos`` (a list of ``{"video_path": ...}``, relative to the folder,
    one a camera, with n frames each) and optionally ``texts``, the first of which is the caption. ``val`` is held out;
    ``test`` is not touched. Without ``val`` episodes are held out as everywhere else.

    Actions are :func:`relative_actions` of the states at the clip's frames, whatever its stride.

    Args:
        path: the folder.
        cameras: the indices in ``videos`` to take, as text; all of them by default.
        side_by_side: one video of all cameras, next to each other, instead of one each.

    Raises:
        ValueError: no annotation to train on.
    """

    action_dim = 7

    def __init__(self, path: str | Path, *, cameras: Sequence[str] | None = None, side_by_side: bool = False) -> None:
        self.name, self._root = str(path), Path(path)
        self._files = {split: sorted((self._root / "annotation" / split).glob("*.json")) for split in ("train", "val")}
        if not self._files["train"]:
            raise ValueError(f"{self.name!r} holds no episode: annotation/train/*.json is empty")
        if cameras is not None and (not cameras or not all(camera.isdecimal() for camera in cameras)):
            raise ValueError(f"the cameras of {self.name!r} are numbers from 0, got {list(cameras)}")
        self._cameras = None if cameras is None else [int(camera) for camera in cameras]
        self._side_by_side = side_by_side
        self._entries: list[_Entry] = []
        self._rates: list[float] = []

    def items(self, files: FileRecords) -> Sequence[Item]:
        listed = [(split, file) for split, found in self._files.items() for file in found]
        with ThreadPoolExecutor(_READERS) as pool:
            found = [pair for pairs in pool.map(lambda entry: self._episode(files, *entry), listed) for pair in pairs]
        self._entries = [entry for _, entry in found]
        self._rates = [item.fps for item, _ in found]
        return [item for item, _ in found]

    def stride(self, item: int, fps: float) -> int:
        return whole_stride(self.name, self._rates[item], fps)

    def action(self, item: int, start: int, count: int, stride: int) -> Float32[ndarray, "count a"]:
        entry = self._entries[item]
        rows = slice(start, start + count * stride + 1, stride)
        if len(entry.state[rows]) != count + 1:
            raise ValueError(f"there are {len(entry.state[rows])} states from step {start} on, {count + 1} are needed")
        return relative_actions(entry.state[rows], entry.gripper[rows])

    def read(self, item: int, times: Sequence[float], *, within: float) -> UInt8[ndarray, "t h w c"]:
        entry, videos = self._entries[item], []
        for file, start in zip(entry.files, entry.starts, strict=True):
            with SequentialVideo(file) as video:
                videos.append(video.nearest([start + time for time in times], within=within))
        return beside(videos)

    def annotations(self, item: int, times: Sequence[float]) -> Annotations:
        raise ValueError(f"{self.name!r} is a dataset in IRASim's layout, which has no annotations")

    def _episode(self, files: FileRecords, split: str, file: Path) -> list[tuple[Item, _Entry]]:
        """The items of one annotation; one that is broken if it is not understood."""
        group, called = f"{split}/{file.stem}", f"{self.name}/annotation/{split}/{file.name}"
        held_out = split == "val" if self._files["val"] else None
        try:
            state, gripper, videos, caption = _annotation(file)
            chosen = range(len(videos)) if self._cameras is None else self._cameras
            if not chosen or max(chosen) >= len(videos):
                raise ValueError(f"it has {len(videos)} videos, camera {max(chosen, default=0)} is not among them")
        except (ValueError, OSError) as error:
            return [(Item(called, group, held_out=held_out, broken=str(error)), _NOTHING)]
        found = []
        for cameras in [list(chosen)] if self._side_by_side else [[camera] for camera in chosen]:
            name = f"{called}, camera{'s' * (len(cameras) > 1)} {', '.join(map(str, cameras))}"
            paths = tuple(self._root / videos[camera] for camera in cameras)
            try:
                headers = [_header(files, path, len(state)) for path in paths]
            except ValueError as error:
                item = Item(name, group, held_out=held_out, broken=str(error))
                found.append((item, _Entry(state, gripper, paths, ())))
                continue
            sizes = beside_sizes([header.size for header in headers])
            item = Item(
                name=name,
                group=group,
                size=(sizes[0][0], sum(width for _, width in sizes)),
                fps=headers[0].fps,
                length=len(state),
                caption=caption,
                files=paths,
                views=tuple(width for _, width in sizes) if len(cameras) > 1 else (),
                held_out=held_out,
            )
            found.append((item, _Entry(state, gripper, paths, tuple(header.start for header in headers))))
        return found


def _header(files: FileRecords, path: Path, states: int) -> VideoHeader:
    """The header of a video; :class:`ValueError` unless it has a frame for each state."""
    header = files.video(path)
    if header.frames != states:
        raise ValueError(f"{str(path)!r} has {header.frames} frames, there are {states} states")
    return header


def _annotation(file: Path) -> tuple[Float[ndarray, "n 6"], Float[ndarray, "n"], list[str], str]:
    """States, gripper, video paths and caption of one annotation; :class:`ValueError` for what it is not."""
    raw = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(raw, Mapping):
        raise ValueError("it is no JSON object")
    try:
        state = np.asarray(raw["state"], dtype=np.float64)
        gripper = np.asarray(raw["continuous_gripper_state"], dtype=np.float64)
        videos = [str(video["video_path"]) for video in raw["videos"]]
        texts: Any = raw.get("texts") or [""]
        caption = str(texts[0] if isinstance(texts, list) else texts).strip()
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"it has no state, continuous_gripper_state or videos as IRASim writes them: {error!r}"
        ) from error
    if state.ndim != 2 or state.shape[1] < 6 or gripper.shape != state.shape[:1]:
        raise ValueError(f"it has states of shape {state.shape} and grippers of shape {gripper.shape}")
    return state[:, :6], gripper, videos, caption
