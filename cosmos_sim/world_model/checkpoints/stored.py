"""Tensors that stay on disk until they are asked for, so that no checkpoint is ever in memory as a whole."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor


@dataclass(frozen=True)
class StoredTensor:
    """A tensor known by shape and dtype; ``read`` brings it into memory, anew at every call."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]

    @property
    def nbytes(self) -> int:
        return self.dtype.itemsize * torch.Size(self.shape).numel()

    def to(self, dtype: torch.dtype | None) -> "StoredTensor":
        """The same in another floating dtype, converted as it is read; integers, and ``None``, leave it as it is."""
        if dtype is None or dtype == self.dtype or not self.dtype.is_floating_point:
            return self
        return replace(self, dtype=dtype, read=lambda: self.read().to(dtype))


Weights = Mapping[str, StoredTensor]


def held(tensor: Tensor) -> StoredTensor:
    """A tensor that is in memory already."""
    return StoredTensor(tuple(tensor.shape), tensor.dtype, lambda: tensor)


def in_file(path: Path, offset: int, shape: tuple[int, ...], dtype: torch.dtype) -> StoredTensor:
    """A contiguous tensor whose bytes begin at ``offset`` of ``path``."""
    return StoredTensor(shape, dtype, partial(_read, path, offset, shape, dtype))


def shapes(weights: Weights) -> dict[str, tuple[int, ...]]:
    return {name: tensor.shape for name, tensor in weights.items()}


def total_bytes(weights: Weights) -> int:
    return sum(tensor.nbytes for tensor in weights.values())


def watched(weights: Weights, watch: Callable[[int], None]) -> Weights:
    """The same tensors; ``watch`` is told the bytes of each as it is read."""

    def read(tensor: StoredTensor) -> Tensor:
        value = tensor.read()
        watch(tensor.nbytes)
        return value

    return {name: replace(tensor, read=partial(read, tensor)) for name, tensor in weights.items()}


def raw(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous CPU tensor, shared with it."""
    return memoryview(tensor.detach().reshape(-1).view(torch.uint8).numpy())


def _read(path: Path, offset: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    # Plain reads, no memory map: the pages of a map would count as this process's memory until it is closed.
    tensor = torch.empty(shape, dtype=dtype)
    with path.open("rb") as file:
        file.seek(offset)
        expected = tensor.numel() * dtype.itemsize
        if (found := file.readinto(raw(tensor))) != expected:
            raise ValueError(f"{path} is truncated: {found} of {expected} bytes at offset {offset}")
    return tensor
