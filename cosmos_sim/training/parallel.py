"""A model on many processes: FSDP2, hybrid sharding, activation checkpointing and compilation, from outside of it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import MethodType

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from cosmos_sim.training.checkpointing import checkpointed
from cosmos_sim.training.layout import Layout

Initialise = Callable[[nn.Module, str], None]
"""Gives values to the parameters and buffers of a part of a model, which is named as seen from the model."""


@dataclass(frozen=True)
class Unit:
    """Modules whose weights are gathered together and freed together."""

    modules: tuple[nn.Module, ...]
    exact: bool = False
    """Whether they compute with their weights in fp32 where the others compute in bf16."""
    repeated: bool = False
    """Whether each is a block of the model: those are checkpointed and compiled."""


def parallelise(
    model: nn.Module, units: Sequence[Unit], layout: Layout, *, bf16: bool, initialise: Initialise | None = None
) -> None:
    """Put ``model`` on the layout's device and, of several processes, this one's share of it; in place.

    Weights, gradients and their mean over all processes are fp32 everywhere; with ``bf16`` weights are gathered, and
    computed with, in bf16 (inputs are left as they are: the model, or autocast, brings them to that). All processes
    start from the values that the first one has. On one process nothing is sharded and weights stay fp32.

    Args:
        units: inner modules before those around them; what none of them holds is gathered for the whole forward pass.
        initialise: for a model on the meta device, whose parts get memory and values one after another, so that no
            process ever holds more than one of them whole. Called in the first process only, for each block and for
            every other module of a unit, or what is left of it.

    Raises:
        ValueError: more shards than blocks; checkpointing or compiling a model without blocks; a unit's module that is
            not in the model; meta tensors without ``initialise``, or in a module around those of units.
    """
    names = {module: name for name, module in model.named_modules()}
    strangers = [type(module).__name__ for unit in units for module in unit.modules if module not in names]
    if strangers:
        raise ValueError(f"{strangers[0]} is in a unit, but not in the model {type(model).__name__}")
    blocks = [module for unit in units if unit.repeated for module in unit.modules]
    _check(model, blocks, layout)
    block_of = {part: block for block in blocks for part in block.modules()}
    filler = _Filler(names, layout, initialise)
    whole = next((unit for unit in units if unit.modules == (model,)), Unit((model,)))
    for unit in [*(unit for unit in units if unit is not whole), whole]:
        for module in unit.modules:
            filler.fill(block_of.get(module, module))
        if layout.mesh is not None:
            fully_shard(
                list(unit.modules),
                mesh=layout.mesh,
                reshard_after_forward=unit is not whole,
                mp_policy=MixedPrecisionPolicy(
                    param_dtype=torch.bfloat16 if bf16 and not unit.exact else None,
                    reduce_dtype=torch.float32,
                    cast_forward_inputs=False,
                ),
            )
    if layout.mesh is None:
        model.to(layout.device)
    forwards: dict[type[nn.Module], Callable] = {}
    config = layout.config
    if config.compile:  # a graph for each size of video, with and without gradients; beyond torch's 8 it runs eagerly
        torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
    if config.checkpointing != "none" or config.compile:
        for block in blocks:
            kind = type(block)
            if kind not in forwards:
                forward = checkpointed(kind.forward, config.checkpointing)
                forwards[kind] = torch.compile(forward) if config.compile else forward
            block.forward = MethodType(forwards[kind], block)


def clip_gradients(parameters: Iterable[Tensor], limit: float) -> Tensor:
    """Scale the gradients of all ``parameters`` so that their joint norm is at most ``limit``.

    Returns:
        The norm before, of whole gradients, the same in every process: a plain scalar, sharded or not.
    """
    norm = nn.utils.clip_grad_norm_(parameters, limit)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


class _Filler:
    """Gives memory on the device, and values, to parts of a model that are still whole."""

    def __init__(self, names: dict[nn.Module, str], layout: Layout, initialise: Initialise | None) -> None:
        self.names, self.layout, self.initialise = names, layout, initialise
        self.filled: set[nn.Module] = set()

    def fill(self, module: nn.Module) -> None:
        """``module`` but for those of its parts that are filled already (and may be sharded)."""
        if module in self.filled:
            return
        if self.filled.isdisjoint(module.modules()):
            self._fill_whole(module)
        else:
            own = _own_tensors(module)
            if any(tensor.is_meta for tensor in own):
                raise ValueError(f"{self.names[module]!r} has meta tensors beside modules of units: give them a module")
            for child in module.children():
                self.fill(child)
            self._send(own)
        self.filled.update(module.modules())

    def _fill_whole(self, module: nn.Module) -> None:
        unmade = [part for part in module.modules() if any(tensor.is_meta for tensor in _own_tensors(part))]
        for part in unmade:
            part.to_empty(device=self.layout.device, recurse=False)
        module.to(self.layout.device)
        if unmade:
            if self.initialise is None:
                raise ValueError(f"{self.names[module]!r} is on the meta device, and nothing says how to initialise it")
            if self.layout.main:
                with torch.no_grad():
                    self.initialise(module, self.names[module])
        self._send(tensor for part in module.modules() for tensor in _own_tensors(part))

    def _send(self, tensors: Iterable[Tensor]) -> None:
        """Those of the first process, to all."""
        if self.layout.mesh is not None:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), src=0)


def _own_tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(recurse=False), *module.buffers(recurse=False)]


def _check(model: nn.Module, blocks: Sequence[nn.Module], layout: Layout) -> None:
    config, shard = layout.config, layout.config.shards(layout.size)
    if not blocks:
        for name, asked in (("checkpointing", config.checkpointing != "none"), ("compile", config.compile)):
            if asked:
                raise ValueError(
                    f"parallel.{name}={getattr(config, name)!r} would be ignored: {type(model).__name__} has no blocks"
                )
    elif shard > len(blocks):
        more = next(n for n in range(2, layout.size + 1) if shard % n == 0 and shard // n <= len(blocks))
        raise ValueError(
            f"parallel.shard={shard} is more than the {len(blocks)} blocks of {type(model).__name__}: gathering one "
            f"takes more memory than sharding further frees; parallel.replicate={config.replicate * more} would do"
        )
