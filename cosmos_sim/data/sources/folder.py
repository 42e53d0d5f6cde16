"""Videos and images in a folder, with captions beside them or in one table."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from cosmos_sim.data.annotations import Annotations
from cosmos_sim.data.clip_files import FileRecords
from cosmos_sim.data.clip_source import Item
from cosmos_sim.data.images import IMAGES, image_size, read_image
from cosmos_sim.data.video import VIDEOS, SequentialVideo

TABLES = ("metadata.jsonl", "metadata.csv")
_FILE, _CAPTION = ("file", "file_name"), ("caption", "text")
_READERS = 16


class FolderSource:
    """A folder of videos and images, searched to any depth.

    With a table (``metadata.jsonl`` or ``metadata.csv``, with the columns ``file`` or ``file_name``, relative to the
    folder, and ``caption`` or ``text``) its files are the rows; without, they are all videos and images there, and the
    caption of ``a.mp4`` is the content of ``a.txt`` beside it. Hidden files and folders are passed over.

    Raises:
        ValueError: naming it, for a folder without a video or image, or a table that is not understood.
    """

    action_dim = None

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = str(path)
        tables = [self.path / name for name in TABLES if (self.path / name).is_file()]
        if len(tables) > 1:
            raise ValueError(f"{self.name!r} has both {' and '.join(TABLES)}; keep one")
        entries = _table(tables[0]) if tables else _beside(self.path)
        unknown = [name for name, _ in entries if Path(name).suffix.lower() not in IMAGES + VIDEOS]
        if unknown:
            raise ValueError(f"{str(tables[0])!r} lists {unknown[0]!r}, which is neither an image nor a video")
        if not entries:
            raise ValueError(f"{self.name!r} holds no video ({' '.join(VIDEOS)}) and no image ({' '.join(IMAGES)})")
        self._entries = sorted(entries)
        self._starts: list[float] = []

    def items(self, files: FileRecords) -> Sequence[Item]:
        with ThreadPoolExecutor(_READERS) as pool:
            found = list(pool.map(lambda entry: self._item(files, *entry), self._entries))
        self._starts = [start for _, start in found]
        return [item for item, _ in found]

    def stride(self, item: int, fps: float) -> int:
        raise ValueError(f"{self.name!r} is a folder of videos, which have no actions")

    def action(self, item: int, start: int, count: int, stride: int) -> Float32[ndarray, "count a"]:
        raise ValueError(f"{self.name!r} is a folder of videos, which have no actions")

    def read(self, item: int, times: Sequence[float], *, within: float) -> UInt8[ndarray, "t h w c"]:
        path = self.path / self._entries[item][0]
        if path.suffix.lower() in IMAGES:
            return np.stack([read_image(path)] * len(times))
        with SequentialVideo(path) as video:
            return video.nearest([self._starts[item] + time for time in times], within=within)

    def annotations(self, item: int, times: Sequence[float]) -> Annotations:
        raise ValueError(f"{self.name!r} is a folder of videos, which have no annotations")

    def _item(self, files: FileRecords, name: str, caption: str) -> tuple[Item, float]:
        """A file's description, and the time stamp of its first frame."""
        path, called = self.path / name, f"{self.name}/{name}"
        try:
            if path.suffix.lower() in IMAGES:
                return Item(called, name, image_size(path), caption=caption, files=(path,)), 0.0
            header = files.video(path)
        except ValueError as error:
            return Item(called, name, caption=caption, files=(path,), broken=str(error)), 0.0
        return Item(called, name, header.size, header.fps, header.frames, caption, (path,)), header.start


def _beside(folder: Path) -> list[tuple[str, str]]:
    """File names relative to ``folder``, and what stands in the text file beside each (nothing, if there is none)."""
    found = []
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if path.suffix.lower() in IMAGES + VIDEOS and not hidden and path.is_file():
            text = path.with_suffix(".txt")
            found.append((name.as_posix(), text.read_text(encoding="utf-8").strip() if text.is_file() else ""))
    return found


def _table(file: Path) -> list[tuple[str, str]]:
    """The file names and captions of a table."""
    found = []
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            for number, row in enumerate(_rows(file, lines), 1):
                name = _column(row, _FILE)
                if not name:
                    raise ValueError(
                        f"row {number} has no {' or '.join(map(repr, _FILE))}, but {sorted(map(str, row))}"
                    )
                found.append((name, (_column(row, _CAPTION) or "").strip()))
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{str(file)!r} is not a table of files and captions: {error}") from error
    names = Counter(name for name, _ in found)
    if len(names) != len(found):
        raise ValueError(f"{str(file)!r} lists {names.most_common(1)[0][0]!r} more than once")
    return found


def _rows(file: Path, lines: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    if file.suffix == ".csv":
        yield from csv.DictReader(lines)
        return
    for line in lines:
        if line.strip():
            row = json.loads(line)
            if not isinstance(row, Mapping):
                raise ValueError(f"a line must be an object, got {line.strip()[:40]}")
            yield row


def _column(row: Mapping[str, Any], names: Sequence[str]) -> str | None:
    values = [row[name] for name in names if row.get(name)]
    return str(values[0]) if values else None
