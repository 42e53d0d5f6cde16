"""A folder beside a result that is being made, for one process at a time and one set of options."""

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cosmos_sim.data.files import new_file


class WorkFolder:
    """``<out>.<doing>``, where what is done of ``out`` is kept until all of it is.

    Args:
        out: the result.
        doing: what is done, as in "collecting".
    """

    def __init__(self, out: Path, doing: str) -> None:
        self.doing = doing
        self.path = out.with_name(f"{out.name}.{doing}")

    @contextmanager
    def opened(self, options: Mapping[str, Any], *, defaults: Mapping[str, Any] | None = None) -> Iterator[None]:
        """Hold the folder for this process alone, after making it or checking that it was begun with ``options``.

        Args:
            options: what the result is made with, as JSON can hold it.
            defaults: what options were that a folder does not tell, which was begun before there were such.

        Raises:
            ValueError: if it was begun with others, naming the difference, or another process holds it.
            OSError: one that was raised while it was held (the disk is full, say), which also tells what is kept.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"another process is {self.doing} into {str(self.path)!r}") from None
            self._check(options, defaults or {})
            for stale in [*self.path.rglob(".*.partial")]:
                stale.unlink(missing_ok=True) if stale.is_file() else shutil.rmtree(stale, ignore_errors=True)
            try:
                yield
            except OSError as error:
                kept = f"what is done is kept in {str(self.path)!r}, and the same command goes on from there"
                raise OSError(f"{_said(error)}: {kept}") from error

    def remove(self) -> None:
        """Delete the folder, if it is there."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _check(self, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        file = self.path / "config.json"
        if not file.is_file():
            with new_file(file) as partial:
                partial.write_text(json.dumps(options, indent=2))
            return
        found = differences(options, {**defaults, **json.loads(file.read_text())})
        if found:
            raise ValueError(
                f"{str(self.path)!r} was begun with other options: {'; '.join(found)}. "
                "Repeat those to continue, or delete the folder to begin anew"
            )


def _said(error: OSError) -> str:
    """What is wrong, and with which file: of a copy, the one that was to be written."""
    file = error.filename2 or error.filename
    return f"{error.strerror or error}{'' if file is None else f' {file!r}'}"


def is_finished(out: Path, record: Path, settings: Mapping[str, Any], *, what: str) -> bool:
    """Whether ``out`` is the result of ``settings``, as the file ``record`` in it tells under that name.

    Raises:
        ValueError: it is anything else than that or nothing: no ``what``, or one that was made with other options.
    """
    file = out / record
    if not file.is_file():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ValueError(f"{str(out)!r} exists already and is not {what}")
        return False
    found = differences(settings, json.loads(file.read_text())["settings"])
    if found:
        raise ValueError(f"{str(out)!r} was made with other options: {'; '.join(found)}")
    return True


def differences(options: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What of ``other``, options as JSON holds them, is not as in ``options``: ``"seed 0 there, 1 here"``."""
    mine = json.loads(json.dumps(options))
    return [f"{key} {other.get(key)!r} there, {mine[key]!r} here" for key in mine if other.get(key) != mine[key]]
