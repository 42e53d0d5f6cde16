"""Which process this is among those of a run, and which share of the work is its own."""

import difflib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, Protocol, get_args

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from cosmos_sim.training.device import select_device

Checkpointing = Literal["none", "selective", "attention", "full"]
"""What of a block is kept for the backward pass; see ``training/checkpointing.py``."""


class Sliceable(Protocol):
    """Sequences, arrays and tensors."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice, /) -> Any: ...


@dataclass(frozen=True)
class Part:
    """One of ``count`` equal shares of a batch, or of held-out clips."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"there is no part {self.index} of {self.count}")

    def of[Items: Sliceable](self, items: Items) -> Items:
        """Every ``count``-th of ``items``, from ``index``: a sequence, or a tensor or array along its first axis.

        Raises:
            ValueError: they do not divide into ``count`` equal shares.
        """
        if len(items) % self.count:
            raise ValueError(f"{len(items)} samples do not divide into {self.count} equal parts, one a process")
        return items[self.index :: self.count]


WHOLE = Part()


@dataclass(frozen=True)
class ParallelConfig:
    """How a run is spread over processes, one for each GPU, and how each of them computes.

    ``replicate * shard * context`` is the number of processes. Weights, gradients and the optimiser's state of one copy
    of the model lie on ``shard * context`` of them.
    """

    replicate: int = 1
    """Copies of the sharded model (hybrid sharding): with more than one, gathering stays within each of them."""
    shard: int | None = None
    """Groups of ``context`` processes that a copy is sharded over; ``None`` for all that are left."""
    context: int = 1
    """Processes that share the tokens of a video (Ulysses); the number of heads divides by it."""
    checkpointing: Checkpointing = "none"
    """What each block keeps for its backward pass; the rest is computed again.

    ``none`` keeps everything; ``selective`` the results of attention and of matrix products; ``attention`` those of
    attention alone; ``full`` the block's input alone.
    """
    compile: bool = False
    """Whether each block is compiled."""

    def __post_init__(self) -> None:
        for name in ("replicate", "shard", "context"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"parallel.{name} must be at least 1, but is {value}")
        levels = get_args(Checkpointing)
        if self.checkpointing not in levels:
            near = difflib.get_close_matches(str(self.checkpointing), levels, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"choose from {levels}"
            raise ValueError(f"unknown parallel.checkpointing {self.checkpointing!r}; {hint}")

    def shards(self, processes: int) -> int:
        """The degree ``shard``, on that many processes.

        Raises:
            ValueError: the degrees do not multiply to their number.
        """
        others = self.replicate * self.context
        shard = processes // others if self.shard is None else self.shard
        if shard < 1 or shard * others != processes:
            asked = f"replicate={self.replicate}, shard={self.shard}, context={self.context}"
            least = others * (self.shard or 1)
            raise ValueError(
                f"parallel degrees {asked} need {'a multiple of ' if self.shard is None else ''}{least} processes, but "
                f"there {'is' if processes == 1 else 'are'} {processes} (torchrun --nproc-per-node starts them)"
            )
        return shard


@dataclass(frozen=True)
class Layout:
    """This process among those of the run. Trivial where there is only one: no mesh, and nothing is communicated."""

    config: ParallelConfig
    device: torch.device
    rank: int = 0
    size: int = 1
    mesh: DeviceMesh | None = None
    """What the weights are sharded over: one axis, ``shard``; with more copies two, ``replicate`` and ``shard``."""
    context_group: dist.ProcessGroup | None = None
    """The processes, of neighbouring ranks, that share each video's tokens; ``None`` if every one has its own."""

    @property
    def main(self) -> bool:
        """Whether this is the one process that logs and writes."""
        return self.rank == 0

    @property
    def copy(self) -> int:
        """Which copy of the model this process holds a share of, of ``config.replicate``; all are alike."""
        return self.rank // (self.size // self.config.replicate)

    def part(self, *, split: bool) -> Part:
        """This process's share of a batch.

        Args:
            split: whether a context group shares the tokens of its samples (videos), so that all of it has the same
                samples; otherwise (images) every process has its own.
        """
        together = self.config.context if split else 1
        return Part(self.rank // together, self.size // together)

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is true in any process."""
        if self.size == 1:
            return flag
        flags = torch.tensor(flag, dtype=torch.int32)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all processes of a tensor that has the same shape in each, on the run's device or the CPU."""
        total = values.detach().clone()
        if self.size > 1:
            dist.all_reduce(total)
        return total / self.size

    def gather(self, value: object) -> list[Any]:
        """A small Python value of every process, in the order of ranks, in every process."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        """Return when all processes have come here."""
        self.any(False)


@contextmanager
def open_layout(config: ParallelConfig, device: str) -> Iterator[Layout]:
    """The layout of the processes that ``torchrun`` started, or of this one; a process group is open meanwhile.

    Where GPUs communicate, an error leaves the group open: to close it NCCL would wait for the other processes, which
    wait for this one. Let the error end the process; torchrun then ends the others.

    Args:
        device: as in ``select_device``; of several processes on a node, each takes the GPU of its local rank.

    Raises:
        ValueError: the degrees do not fit the number of processes, a node has more processes than GPUs, the device has
            a number of its own though there are several processes, or torchrun's environment is not whole.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    shard = config.shards(size)
    if size == 1:
        yield Layout(config, select_device(device))
        return
    missing = [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise ValueError(f"WORLD_SIZE={size}, but {', '.join(missing)} not set; torchrun sets them all")
    own = _own_device(device, int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if own.type == "cuda" else "gloo", timeout=timedelta(minutes=30))
    waited_for = False
    try:
        yield _divide(config, own, shard)
    except (Exception, KeyboardInterrupt):
        waited_for = own.type == "cuda"
        raise
    finally:
        if not waited_for:
            dist.destroy_process_group()


def _divide(config: ParallelConfig, device: torch.device, shard: int) -> Layout:
    rank, size = dist.get_rank(), dist.get_world_size()
    sharded = shard * config.context
    if config.replicate == 1:
        mesh = init_device_mesh(device.type, (sharded,), mesh_dim_names=("shard",))
    else:
        mesh = init_device_mesh(device.type, (config.replicate, sharded), mesh_dim_names=("replicate", "shard"))
    group = None
    if config.context > 1:
        shape = (size // config.context, config.context)
        group = init_device_mesh(device.type, shape, mesh_dim_names=("data", "context")).get_group("context")
    return Layout(config, device, rank, size, mesh, group)


def _own_device(name: str, local_rank: int) -> torch.device:
    """The device of one of several processes on a node."""
    device = select_device(name)
    if device.type != "cuda":
        return device
    if name not in ("auto", "cuda"):
        raise ValueError(f"device {name!r} names one GPU, but there are several processes: say cuda or auto")
    if local_rank >= torch.cuda.device_count():
        raise ValueError(
            f"process {local_rank} (from 0) of this node has no GPU of its own: there are {torch.cuda.device_count()}; "
            f"start as many processes, or train with device cpu"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)
