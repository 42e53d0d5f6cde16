"""Checkpoints of a run: written whole, verified when read, the newest ``keep`` of them kept.

A checkpoint is a folder ``step-XXXXXXXX`` (steps done) with ``model.safetensors``, ``ema.safetensors``,
``optimizer.pt`` (read with ``weights_only=True``) and ``checkpoint.json``, which says what was trained, by which
configs, commit and torch, and holds the size and CRC-32 of the other files.
"""

import json
import re
import shutil
import warnings
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cosmos_sim.data.files import new_folder
from cosmos_sim.training.ema import Ema
from cosmos_sim.training.weights import load_weights, named_weights, save_weights

_MODEL, _EMA, _OPTIMIZER, _META = "model.safetensors", "ema.safetensors", "optimizer.pt", "checkpoint.json"
_NAME = re.compile(r"step-(\d{8})")


class CorruptCheckpointError(ValueError):
    """A checkpoint folder that is incomplete or damaged."""


class Checkpoints:
    """The checkpoints of one run, in ``folder``."""

    def __init__(self, folder: Path, *, keep: int) -> None:
        self.folder = folder
        self._keep = keep

    def steps(self) -> list[int]:
        """The steps that there are checkpoints of, ascending."""
        names = (_NAME.fullmatch(path.name) for path in self.folder.glob("step-*"))
        return sorted(int(match[1]) for match in names if match)

    def path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"

    def save(
        self, step: int, model: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer, meta: dict[str, Any]
    ) -> None:
        """Write the checkpoint of ``step`` and delete all but the newest ``keep``.

        Raises:
            OSError: if it cannot be written (a full disk, for example); earlier checkpoints are then as they were.
        """
        try:
            with new_folder(self.path(step)) as folder:
                save_weights(named_weights(model), folder / _MODEL)
                save_weights(ema.weights, folder / _EMA)
                torch.save(optimizer.state_dict(), folder / _OPTIMIZER)
                files = {name: _fingerprint(folder / name) for name in (_MODEL, _EMA, _OPTIMIZER)}
                (folder / _META).write_text(json.dumps({"step": step, **meta, "files": files}, indent=2))
        except Exception as error:
            earlier = [before for before in self.steps() if before != step]
            intact = f"{self.path(earlier[-1])} is intact" if earlier else "there was none before"
            raise OSError(f"the checkpoint of step {step} could not be written: {error} ({intact})") from error
        for old in self.steps()[: -self._keep]:
            shutil.rmtree(self.path(old))
        for leftover in [*self.folder.glob(".step-*"), *self.folder.glob("step-*.corrupt")]:
            shutil.rmtree(leftover)

    def newest(self) -> dict[str, Any] | None:
        """The newest checkpoint's ``checkpoint.json``, or ``None`` where there are no checkpoints.

        A damaged checkpoint is set aside as ``step-XXXXXXXX.corrupt`` with a warning, and the one before is taken.

        Raises:
            CorruptCheckpointError: if there are checkpoints and all are damaged.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return self._verify(step)
            except CorruptCheckpointError as error:
                warnings.warn(f"{error}; going back to the checkpoint before it", stacklevel=2)
                last_error = error
                aside = self.path(step).with_suffix(".corrupt")
                shutil.rmtree(aside, ignore_errors=True)
                self.path(step).rename(aside)
        if steps:
            raise CorruptCheckpointError(f"no checkpoint is left in {self.folder}: the last tried: {last_error}")
        return None

    def load(self, step: int, model: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer) -> None:
        """Restore, in place, what :meth:`save` wrote."""
        folder = self.path(step)
        load_weights(named_weights(model), folder / _MODEL)
        load_weights(ema.weights, folder / _EMA)
        optimizer.load_state_dict(torch.load(folder / _OPTIMIZER, map_location="cpu", weights_only=True))

    def _verify(self, step: int) -> dict[str, Any]:
        folder = self.path(step)
        try:
            meta = json.loads((folder / _META).read_text())
            for name, fingerprint in meta["files"].items():
                found = _fingerprint(folder / name)
                if found != fingerprint:
                    raise CorruptCheckpointError(f"{folder / name} is damaged: {found}, not {fingerprint}")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, CorruptCheckpointError):
                raise
            raise CorruptCheckpointError(f"{folder} is damaged: {type(error).__name__}: {error}") from error
        return meta


def _fingerprint(path: Path) -> dict[str, int]:
    crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 24):
            crc = zlib.crc32(block, crc)
    return {"bytes": path.stat().st_size, "crc32": crc}
