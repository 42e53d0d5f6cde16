"""Broken clips: skipped, counted and named."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from types import MappingProxyType


class BrokenClip(ValueError):  # noqa: N818 - named for what it is about, as Interrupted is
    """A clip that cannot be had: ``name`` says which (a window, or the whole video), ``why`` what is wrong with it."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name = name
        self.why = why


class Skips:
    """The record of broken clips: one warning and one line of ``file`` for each, however often it is met.

    The lines are ``{"clip": ..., "why": ...}``. What an earlier run wrote there is kept and not repeated, but its clips
    are tried again: somebody may have mended them.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._reasons: dict[str, str] = {}
        self._lock = Lock()
        self._written = set(file.read_text(encoding="utf-8").splitlines()) if file.is_file() else set()

    @property
    def reasons(self) -> Mapping[str, str]:
        """Why each was skipped, by name."""
        return MappingProxyType(self._reasons)

    def __contains__(self, name: str) -> bool:
        return name in self._reasons

    def add(self, broken: BrokenClip) -> None:
        with self._lock:
            if broken.name in self._reasons:
                return
            self._reasons[broken.name] = broken.why
            line = json.dumps({"clip": broken.name, "why": broken.why}, ensure_ascii=False)
            if line not in self._written:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                with self.file.open("ab", buffering=0) as file:
                    file.write(line.encode() + b"\n")
        warnings.warn(f"skipped a broken clip, {broken} (recorded in {str(self.file)!r})", stacklevel=3)
