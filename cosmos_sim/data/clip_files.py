"""What was once found out about files, remembered until they change: the hash of their bytes, and videos' headers."""

import json
import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import Any

from cosmos_sim.data.video import SequentialVideo, VideoHeader

_PIECE = 1 << 22


class FileRecords:
    """Facts about files, each found out once and remembered by path, size and time of change.

    They are appended to one file, a line of JSON each, which threads and processes may share: a line that was lost or
    mangled means that the fact is found out anew.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._known: dict[tuple[str, str, int, int], Any] = {}
        self._busy: defaultdict[str, Lock] = defaultdict(Lock)
        self._writing = Lock()
        lines = file.read_bytes().splitlines() if file.is_file() else []
        for line in lines:
            try:
                kind, path, size, changed, value = json.loads(line)
                self._known[kind, path, size, changed] = value
            except (ValueError, TypeError):
                continue

    def digest(self, path: Path) -> str:
        """The BLAKE2b hash of a file's bytes, in hexadecimal.

        Raises:
            OSError: the file is missing or cannot be read.
        """
        value: str = self._find("digest", path, _digest)
        return value

    def video(self, path: Path) -> VideoHeader:
        """The header of a video file.

        Raises:
            ValueError: naming the file: it is missing, no video, or does not say its rate or length.
        """
        try:
            known = self._find("video", path, _header)
        except OSError as error:
            raise ValueError(f"{str(path)!r}: the video is missing or cannot be read") from error
        return VideoHeader(**{**known, "size": tuple(known["size"])})

    def _find(self, kind: str, path: Path, find_out: Callable[[Path], Any]) -> Any:
        state = path.stat()
        key = (kind, os.path.abspath(path), state.st_size, state.st_mtime_ns)
        with self._busy[key[1]]:  # two threads that need the same big file read it once
            if key not in self._known:
                value = find_out(path)
                self._known[key] = value
                self._append([*key, value])
            return self._known[key]

    def _append(self, record: list[Any]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(record).encode()
        with self._writing, self.file.open("ab", buffering=0) as file:  # one write appends one line, whoever else does
            file.write(b"\n" + line + b"\n")


def _digest(path: Path) -> str:
    digest = blake2b(digest_size=20)
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _header(path: Path) -> dict[str, Any]:
    with SequentialVideo(path) as video:
        return asdict(video.header())
