"""What a run leaves for people to read: metrics.jsonl, curves in tensorboard (and wandb), and sample videos."""

import json
import math
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from numpy import ndarray

from cosmos_sim.data.files import new_file
from cosmos_sim.training.video import encode_gif, write_mp4


class Log:
    """The log of a run that has done ``step`` steps: whatever an earlier process logged after that is dropped.

    A line of ``metrics.jsonl`` is ``{"step": n, "train/loss": ...}`` (means since the last such line) or
    ``{"step": n, "eval/...": ...}``; a number that is not finite is ``null``. Nothing in it depends on the clock, so
    the file of a resumed run equals that of an unbroken one. Tensorboard has the same curves, and speed; so has Weights
    & Biases, where a project of it is named.
    """

    def __init__(
        self, out: Path, step: int, *, wandb: str | None = None, config: Mapping[str, Any] | None = None
    ) -> None:
        """``config`` is what Weights & Biases is told about the run.

        Raises:
            ValueError: ``wandb`` names a project, but the library is not installed or not logged in.
        """
        from torch.utils.tensorboard import SummaryWriter  # takes a second to import

        self._out = out
        path = out / "metrics.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [line for line in lines if (row := _parse(line)) and row["step"] <= step]
        with new_file(path) as partial:
            partial.write_text("".join(f"{line}\n" for line in kept))
        self._rows = [json.loads(line) for line in kept]
        self._file = path.open("a")
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1 if step else None)
        self._wandb = None if wandb is None else _start_wandb(wandb, out, config or {})

    def figures(self, step: int, group: str) -> dict[str, float] | None:
        """What ``group`` (``"train"``, ``"eval"``) logged at ``step``, or ``None``."""
        for row in self._rows:
            found = {key.removeprefix(f"{group}/"): row[key] for key in row if key.startswith(f"{group}/")}
            if row["step"] == step and found:
                return {key: math.nan if value is None else value for key, value in found.items()}
        return None

    def write(self, step: int, group: str, figures: Mapping[str, float]) -> None:
        """Add a line and points on the curves."""
        finite = {key: float(value) if math.isfinite(value) else None for key, value in figures.items()}
        row = {"step": step, **{f"{group}/{key}": value for key, value in finite.items()}}
        self._rows.append(row)
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        self.curves(step, {f"{group}/{key}": value for key, value in figures.items()})

    def curves(self, step: int, figures: Mapping[str, float]) -> None:
        """Add points to the curves alone."""
        for key, value in figures.items():
            self._board.add_scalar(key, value, step)
        if self._wandb is not None:
            self._wandb.log({**figures, "step": step})

    def videos(self, step: int, videos: Mapping[str, UInt8[ndarray, "t h w c"]], fps: float) -> None:
        """Write ``samples/step-XXXXXXXX_name.mp4`` and show the same beside the curves."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        for name, frames in videos.items():
            path = self._out / "samples" / f"step-{step:08d}_{name.replace('/', '-')}.mp4"
            write_mp4(path, frames, fps)
            image = Summary.Image(
                height=frames.shape[1],
                width=frames.shape[2],
                colorspace=3,
                encoded_image_string=encode_gif(frames, fps),
            )
            summary = Summary(value=[Summary.Value(tag=f"samples/{name}", image=image)])
            self._board._get_file_writer().add_summary(summary, step)
            if self._wandb is not None:
                from wandb import Video

                self._wandb.log({f"samples/{name}": Video(str(path), format="mp4"), "step": step})

    def sync(self) -> None:
        """Put every line on the disk; call it before a checkpoint, which must not know more than the log."""
        os.fsync(self._file.fileno())
        self._board.flush()

    def close(self) -> None:
        self._file.close()
        self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


class Window:
    """Means of the figures since the last log line, kept in checkpoints so that a resumed run logs the same means."""

    def __init__(self, state: Mapping[str, Iterable[float]] | None = None) -> None:
        self._sums: dict[str, list[float]] = {name: list(pair) for name, pair in (state or {}).items()}

    def add(self, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            total = self._sums.setdefault(name, [0.0, 0])
            total[0] += value
            total[1] += 1

    def means(self) -> dict[str, float]:
        return {name: total / count for name, (total, count) in self._sums.items()}

    def state(self) -> dict[str, list[float]]:
        return {name: list(pair) for name, pair in self._sums.items()}


def _start_wandb(project: str, out: Path, config: Mapping[str, Any]) -> Any:
    """The run of Weights & Biases that belongs to ``out``: a new one, or the one that was begun there."""
    try:
        import wandb
    except ImportError as error:
        raise ValueError(f"wandb={project!r} is asked for, but not installed: pip install wandb") from error
    record = out / "wandb_id"
    if not record.exists():
        with new_file(record) as partial:
            partial.write_text(secrets.token_hex(8))
    try:
        run = wandb.init(
            project=project, id=record.read_text(), resume="allow", name=out.name, dir=str(out), config=dict(config)
        )
    except wandb.errors.UsageError as error:
        raise ValueError(f"wandb={project!r} cannot be logged to: {error} (or set WANDB_MODE=offline)") from error
    run.define_metric("*", step_metric="step")  # its own count of steps cannot go back to where a run resumes
    return run


def _parse(line: str) -> dict[str, Any] | None:
    """A log line, or ``None`` for one that a killed process left half-written."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None
