"""Where clips come from: one file for each kind of source."""

from collections.abc import Sequence
from pathlib import Path

from cosmos_sim.data.clip_source import Source
from cosmos_sim.data.sources.bridge import BridgeSource
from cosmos_sim.data.sources.folder import FolderSource
from cosmos_sim.data.sources.lerobot import LeRobotSource, StrideActions


def open_source(
    path: str | Path,
    *,
    cameras: Sequence[str] | None = None,
    side_by_side: bool = False,
    stride_actions: StrideActions | None = None,
) -> Source:
    """The source at ``path``: a LeRobotDataset v3 (a folder, a recorded name or a hub id), Bridge in IRASim's layout (a
    folder with ``annotation/``), or any other folder, of videos and images.

    Args:
        cameras: the cameras to take, where the source has cameras; all of them by default.
        side_by_side: make one video of an episode's cameras, next to each other; otherwise each is one of its own.
        stride_actions: see :class:`~cosmos_sim.data.sources.lerobot.LeRobotSource`.

    Raises:
        ValueError: there is nothing at ``path``, it has no such camera, or an option does not apply to it.
    """
    folder = Path(path)
    if folder.is_dir() and not (folder / "meta" / "info.json").is_file():
        bridge = (folder / "annotation").is_dir()
        kind = "in Bridge's layout" if bridge else "a folder of videos and images"
        if stride_actions is not None:
            raise ValueError(f"{str(path)!r} is {kind}: {stride_actions=} is for LeRobot datasets")
        if bridge:
            return BridgeSource(folder, cameras=cameras, side_by_side=side_by_side)
        if cameras is not None or side_by_side:
            raise ValueError(f"{str(path)!r} is {kind} and has no cameras, got {cameras=}, {side_by_side=}")
        return FolderSource(folder)
    return LeRobotSource(path, cameras=cameras, side_by_side=side_by_side, stride_actions=stride_actions)
