"""Stopping a run between two steps when the user or the scheduler asks for it."""

import fcntl
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any


class Interrupted(SystemExit):
    """A run that was asked to stop, and saved first. Uncaught, it ends the process with code 128 + signal."""

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)


class Interrupt:
    """Within a ``with`` block, remembers SIGINT and SIGTERM in :attr:`signal` instead of dying of them.

    A second SIGINT acts as it would outside; a second SIGTERM does not, since schedulers send one to every process and
    torchrun passes its own on. In any but the main thread, where Python takes no signals, nothing is caught.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.signal = signum
        signal.signal(signal.SIGINT, self._before[signal.SIGINT])


@contextmanager
def only_run(out: Path) -> Iterator[None]:
    """Hold ``out`` for this process; the system lets go of it however the process ends.

    Raises:
        ValueError: if another process trains into ``out``.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"another process is training into {out}") from error
        yield
