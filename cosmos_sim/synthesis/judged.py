"""Judgements kept as they are made, so that a run that was stopped goes on where it was."""

import json
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

from cosmos_sim.data.dreams import DreamRecord
from cosmos_sim.synthesis.judges import Judgement
from cosmos_sim.types import Episode


class Judged:
    """A file of judgements, one line each, by all that they depend on; with no file they are kept in memory alone.

    Lines that a kill left half are passed over and made again.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self._known: dict[str, Judgement] = {}
        if file is not None and file.is_file():
            for line in file.read_bytes().splitlines():
                try:
                    told = json.loads(line)
                    self._known[told["key"]] = Judgement(told["following"], told["physics"], told["reason"])
                except (ValueError, LookupError, TypeError):
                    continue

    def get(self, key: str) -> Judgement | None:
        return self._known.get(key)

    def keep(self, key: str, judgement: Judgement) -> None:
        """Remember ``judgement``; :class:`OSError` if the file cannot be written."""
        self._known[key] = judgement
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            line = json.dumps({"key": key, **asdict(judgement)}, ensure_ascii=False)
            with self.file.open("a+b") as file:
                torn = file.tell() and (file.seek(-1, 2), file.read(1))[1] != b"\n"
                file.write((b"\n" if torn else b"") + line.encode() + b"\n")


def judgement_key(judge: str, record: DreamRecord, episode: Episode, *, seed: int) -> str:
    """A digest of what a judgement depends on: the judge and its settings, the dream, and the seed."""
    start = record.start
    whole = sha256(json.dumps([judge, seed, record.instruction, start.seed, start.task, start.split]).encode())
    for camera, frames in sorted(episode.frames.items()):
        whole.update(f"{camera} {frames.shape}".encode() + frames.tobytes())
    whole.update(episode.action.tobytes())
    return whole.hexdigest()
