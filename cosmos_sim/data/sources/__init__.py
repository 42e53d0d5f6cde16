"""Where clips come from: one file for each kind of source."""

from collections.abc import Sequence
from pathlib import Path

from cosmos_sim.data.clip_source import Source
from cosmos_sim.data.sources.folder import FolderSource


def open_source(
    path: str | Path,
    *,
    cameras: Sequence[str] | None = None,
    side_by_side: bool = False,
) -> Source:
    """The source at ``path``: a LeRobotDataset v3 (a folder or hub id), Bridge in IRASim's layout, or a plain folder.

    Args:
        cameras: the cameras to take, where the source has cameras; all of them by default.
        side_by_side: make one video of an episode's cameras, next to each other; otherwise each is one of its own.

    Raises:
        ValueError: there is nothing at ``path``, it has no such camera, or it has no cameras to choose from.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ValueError(f"no folder at {str(path)!r}")
    if cameras is not None or side_by_side:
        raise ValueError(f"{str(path)!r} is a folder of videos: it has no cameras to choose from, got {cameras=}")
    return FolderSource(folder)
