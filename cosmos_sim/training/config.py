"""The options of a training run, and which of them may change when it resumes."""

import dataclasses
import math
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args

from cosmos_sim.training.device import Autocast
from cosmos_sim.training.layout import ParallelConfig

Decay = Literal["linear", "cosine"]
EmaKind = Literal["fixed", "power"]


@dataclass(frozen=True)
class TrainConfig:
    """How long, how fast and how carefully to train. The defaults suit a small model on one device.

    The learning rate is a fraction of ``lr``: it rises to ``start_lr`` in the first ``warmup`` steps, falls to
    ``final_lr`` in the next ``decay_steps``, stays there, and goes to zero in the last ``cooldown`` steps.
    Cosmos-Predict2.5-2B: ``lr=3e-5, weight_decay=1e-3, betas=(0.9, 0.999), warmup=2000, decay="linear", start_lr=0.99,
    final_lr=0.4, decay_steps=400_000, grad_clip=0.1, ema=0.1, ema_kind="power"``.
    """

    steps: int = 10_000
    """Optimiser steps in all."""
    lr: float = 3e-4
    """Learning rate of AdamW that the fractions below refer to; by default its peak."""
    weight_decay: float = 0.01
    """Decoupled weight decay, of matrices only (tensors of two axes or more)."""
    betas: tuple[float, float] = (0.9, 0.99)
    """AdamW's decay rates of the first and second moment."""
    eps: float = 1e-8
    """What AdamW adds to the root of the second moment."""
    warmup: int = 100
    """Steps over which the learning rate rises linearly."""
    decay: Decay = "cosine"
    """The form in which it falls after that."""
    start_lr: float = 1.0
    """The learning rate where warm-up ends and decay begins, as a fraction of ``lr``."""
    final_lr: float = 0.1
    """The learning rate that the decay ends at, as a fraction of ``lr``."""
    decay_steps: int | None = None
    """Steps of the decay, which may be more than the run has; ``None`` until the last step before the cooldown."""
    cooldown: int = 0
    """The last steps, over which the learning rate falls linearly from what it was to zero."""
    grad_clip: float | None = 1.0
    """Largest norm of the whole gradient; ``None`` does not clip."""
    ema: float = 0.999
    """The average over weights that is evaluated and exported: the decay per step (``fixed``; 0 takes the weights
    themselves), or the width of the average relative to the run so far (``power``; NVIDIA uses 0.1)."""
    ema_kind: EmaKind = "fixed"
    accumulate: int = 1
    """Batches per optimiser step, whose losses are averaged."""
    seed: int = 0
    """With the step's number, the source of all randomness."""
    save_every: int = 1000
    """Steps between checkpoints."""
    eval_every: int = 1000
    """Steps between evaluations and sample videos; both are also made at the end."""
    log_every: int = 50
    """Steps between lines of the log, each the mean since the last one."""
    keep: int = 2
    """How many of the newest checkpoints to keep."""
    device: str = "auto"
    """A torch device; ``auto`` is CUDA where there is one, else the CPU."""
    autocast: Autocast = "auto"
    """``auto`` is bf16 on CUDA and on CPUs with AVX512-BF16 or AMX, else fp32. Weights and averages are fp32 always."""
    threads: int | None = None
    """CPU threads for torch; ``None`` leaves its own choice."""
    prefetch: int = 2
    """Batches made ahead of time, each in a thread of its own; 0 makes them when needed."""
    sample_fps: float = 10.0
    """Frames per second of the sample videos."""
    wandb: str | None = None
    """A project of Weights & Biases to log to as well (``WANDB_MODE=offline`` keeps it on the disk)."""
    export_plain: bool = False
    """Whether the last weights, not averaged, are evaluated and exported too, to ``export_plain``."""
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    """How the run is spread over processes, and how each of them computes."""

    def __post_init__(self) -> None:
        def need(ok: bool, name: str, what: str) -> None:
            if not ok:
                raise ValueError(f"{name} must be {what}, but is {getattr(self, name)!r}")

        for name in ("steps", "accumulate", "save_every", "eval_every", "log_every", "keep"):
            need(getattr(self, name) >= 1, name, "at least 1")
        for name in ("weight_decay", "warmup", "cooldown", "prefetch", "seed"):
            need(0 <= getattr(self, name) < math.inf, name, "at least 0")
        for name in ("lr", "eps", "sample_fps"):
            need(0 < getattr(self, name) < math.inf, name, "positive")
        for name, kind in (("decay", Decay), ("ema_kind", EmaKind), ("autocast", Autocast)):
            need(getattr(self, name) in get_args(kind), name, f"one of {', '.join(get_args(kind))}")
        need(len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas), "betas", "two numbers in [0, 1)")
        need(0 < self.start_lr <= 1, "start_lr", "in (0, 1], a fraction of lr")
        need(0 <= self.final_lr <= 1, "final_lr", "in [0, 1], a fraction of lr")
        need(self.decay_steps is None or self.decay_steps >= 1, "decay_steps", "at least 1 or None")
        room = max(0, self.steps - self.warmup)
        need(self.cooldown <= room, "cooldown", f"at most {room}, what warmup leaves of the steps")
        need(self.grad_clip is None or self.grad_clip > 0, "grad_clip", "positive or None")
        need(self.threads is None or self.threads >= 1, "threads", "at least 1 or None")
        if self.ema_kind == "fixed":
            need(0 <= self.ema < 1, "ema", "in [0, 1), a decay per step")
        else:
            need(0 < self.ema < 12**-0.5, "ema", "in (0, 0.288), the relative width of a power average")
        need(self.ema > 0 or not self.export_plain, "export_plain", "False with ema=0, which exports these weights")
        need(self.wandb is None or self.wandb.strip() != "", "wandb", "the name of a project or None")


CHANGEABLE = frozenset(
    {
        "keep", "log_every", "save_every", "eval_every", "threads", "device", "prefetch", "sample_fps", "wandb",
        "export_plain", "parallel",
    }
)  # fmt: skip
"""The fields of :class:`TrainConfig` that a resumed run may set differently: they do not change what is learned."""


def plain(value: Any) -> Any:
    """``value`` (a nested dataclass) as what JSON gives back for it: dicts, lists, numbers, strings, booleans, None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"a config may hold plain values only, not {type(value).__name__} {value!r}")


def difference(old: Any, new: Any, path: str = "") -> tuple[str, Any, Any] | None:
    """The first field in which two :func:`plain` configs differ: its dotted name, the old and the new value."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            found = difference(old.get(key), new.get(key), f"{path}.{key}" if path else key)
            if found:
                return found
        return None
    return None if old == new else (path, old, new)
