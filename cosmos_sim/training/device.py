"""Where a run computes: device, precision, and the random streams that a step draws from."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from enum import IntEnum
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

Autocast = Literal["auto", "bf16", "fp32"]
"""In what a loss is computed; ``auto`` is bf16 where that is fast."""


class Stream(IntEnum):
    """Independent sources of randomness within one step."""

    BATCH = 0
    LOSS = 1
    EVALUATE = 2
    SAMPLE = 3
    GLOBAL = 4


def select_device(name: str) -> torch.device:
    """The device called ``name``; ``auto`` is CUDA where there is one, else the CPU.

    Raises:
        ValueError: for a device that torch does not know or that this machine lacks.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return device


def select_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """``float32`` or ``bfloat16``, of either spelling; ``auto`` is bf16 where ``device`` computes in it.

    Raises:
        ValueError: for any other.
    """
    name = str(dtype).removeprefix("torch.")
    if name == "auto":
        return torch.bfloat16 if has_fast_bf16(device) else torch.float32
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if name not in known:
        raise ValueError(f"dtype must be auto, {' or '.join(known)}, not {name!r}")
    return known[name]


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bf16 products are fast there: CUDA devices of capability 8 and up, CPUs with AVX512-BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    able = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def computes_in_bf16(device: torch.device, mode: Autocast) -> bool:
    """What ``mode`` comes to on that device."""
    return mode == "bf16" or (mode == "auto" and has_fast_bf16(device))


def autocast(device: torch.device, mode: Autocast) -> AbstractContextManager[Any]:
    """The context in which losses are computed; a new one for each use."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=computes_in_bf16(device, mode))


def stream_seed(seed: int, step: int, stream: Stream, part: int = 0) -> int:
    """A seed for one stream of one step, in one part of the batch, mixed by NumPy's ``SeedSequence``."""
    return int(np.random.SeedSequence((seed, step, stream, part)).generate_state(1)[0])


def stream_generator(
    seed: int, step: int, stream: Stream, device: torch.device | str = "cpu", *, part: int = 0
) -> torch.Generator:
    """The generator of one stream of one step, in one part of the batch: a function of these and nothing else."""
    return torch.Generator(device).manual_seed(stream_seed(seed, step, stream, part))


@contextmanager
def process_settings(device: torch.device, threads: int | None) -> Iterator[None]:
    """Set torch's CPU threads for a ``with`` block, and give them and torch's global generators back afterwards."""
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        torch.set_num_threads(before)


def map_tensors(batch: Any, function: Any) -> Any:
    """``batch`` with ``function`` applied to each tensor in its dicts, lists, (named) tuples and dataclasses."""
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, Mapping):
        return {key: map_tensors(value, function) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(map_tensors(value, function) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(map_tensors(value, function) for value in batch)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        fields = {f.name: map_tensors(getattr(batch, f.name), function) for f in dataclasses.fields(batch) if f.init}
        return dataclasses.replace(batch, **fields)
    return batch
