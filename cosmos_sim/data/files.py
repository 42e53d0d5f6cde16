"""Files and folders that appear whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write to; the file is renamed to ``path`` if the ``with`` block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        _flush(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside ``path`` to fill; if the ``with`` block succeeds it takes the place of ``path``.

    A kill between the two renames leaves the old folder under ``.NAME.old``, from where the next call brings it back.
    """
    partial, old = path.with_name(f".{path.name}.{os.getpid()}.partial"), path.with_name(f".{path.name}.old")
    if old.exists() and not path.exists():
        old.rename(path)
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        for file in sorted(partial.rglob("*")):
            if file.is_file():
                _flush(file)
        if path.exists():
            path.rename(old)
        try:
            partial.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def short_name(name: str | Path) -> str:
    """What a dataset or a network is called where others read it: of a folder no more than its own name, or its run's
    where it is what a run exported.
    """
    path = Path(name)
    if not path.exists():
        return str(name)
    path = path.resolve()
    return path.parent.name if path.name == "export" else path.name


def _flush(file: Path) -> None:
    """Wait until a file is on the disk, so that a rename never outlives what it names."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
