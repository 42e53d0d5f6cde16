"""Networks from disk onto a device, one tensor at a time."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from cosmos_sim.world_model.checkpoints.adapter import merge, open_adapter
from cosmos_sim.world_model.checkpoints.control import Branch, Controls, check_kind, is_branch, open_control
from cosmos_sim.world_model.checkpoints.infer import Unseen
from cosmos_sim.world_model.checkpoints.names import Which
from cosmos_sim.world_model.checkpoints.network import open_merged
from cosmos_sim.world_model.checkpoints.source import open_source
from cosmos_sim.world_model.checkpoints.stored import Weights
from cosmos_sim.world_model.control import ControlBranch, ControlledDiT
from cosmos_sim.world_model.dit import DiT


def load_dit(
    path: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = torch.bfloat16,
    which: Which = "auto",
    unseen: Unseen | None = None,
    adapter: str | Path | None = None,
) -> DiT:
    """A network from any checkpoint: ours, diffusers', NVIDIA's ``.pt`` or distributed folder.

    The network is built without memory and filled tensor by tensor, so that no more than one is ever on the host.

    Args:
        path: file or folder.
        device: where the weights go.
        dtype: what they are held in, as :meth:`DiT.cast` does it (some stay in fp32); ``None`` leaves them as stored.
        which: the averaged or the regular weights of a training checkpoint.
        unseen: what shapes do not say (rotary ratio, layout of actions), for files without a configuration (NVIDIA's).
        adapter: a LoRA adapter to merge into the weights.

    Raises:
        ValueError: there is no such checkpoint, or it is damaged or foreign; nothing is loaded then.
    """
    network = open_merged(open_source(path), which=which, unseen=unseen)
    weights = network.weights
    if adapter is not None:
        weights = merge(weights, open_adapter(open_source(adapter)))
    with torch.device("meta"):
        model = DiT(network.config)
    if dtype is not None:
        model.cast(dtype)
    fill(model, weights, torch.device(device), keep_dtype=dtype is None)
    return model


def load_controlled(
    path: str | Path,
    *,
    base: str | Path | None = None,
    kinds: Sequence[str] | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = torch.bfloat16,
    which: Which = "auto",
    unseen: Unseen | None = None,
) -> ControlledDiT:
    """A transformer with its control branches, from any checkpoint; see :func:`load_dit`.

    Args:
        base: the transformer, where ``path`` is a branch alone.
        kinds: what the branches are where the checkpoint does not say it (NVIDIA's; four are edge, blur, depth, seg
            when not given); else which of them to load.

    Raises:
        ValueError: there is no such checkpoint, it is damaged or foreign, or does not say what its branches are.
    """
    source, given = open_source(path), None if base is None else open_source(base)
    if base is not None and not is_branch(source):
        raise ValueError(f"base={base} would be ignored: {path} holds a transformer")
    controls = open_control(source, base=given, kinds=kinds, which=which, unseen=unseen)
    return controlled(controls, device=torch.device(device), dtype=dtype)


def controlled(controls: Controls, *, device: torch.device, dtype: torch.dtype | None) -> ControlledDiT:
    """The transformer and branches of ``controls``, put together; ``device`` and ``dtype`` as for a network.

    Raises:
        ValueError: a branch has no name, or there is no transformer.
    """
    for kind in controls.branches:
        check_kind(kind)
    network = controls.with_base()
    with torch.device("meta"):
        model = DiT(network.config)
    if dtype is not None:
        model.cast(dtype)
    fill(model, network.weights, device, keep_dtype=dtype is None)
    return ControlledDiT(model, {kind: _branch(part, device, dtype) for kind, part in controls.branches.items()})


def _branch(stored: Branch, device: torch.device, dtype: torch.dtype | None) -> ControlBranch:
    with torch.device("meta"):
        branch = ControlBranch(stored.base, stored.config)
    if dtype is not None:
        branch.cast(dtype)
    fill(branch, stored.weights, device, keep_dtype=dtype is None)
    return branch


def fill(model: nn.Module, weights: Weights, device: torch.device, *, keep_dtype: bool) -> None:
    """Replace every weight of a ``model`` on the meta device, in the model's dtype or, if so told, in its own."""
    for name, tensor in weights.items():
        path, _, leaf = name.rpartition(".")
        module = model.get_submodule(path)
        old = getattr(module, leaf)
        value = tensor.read().to(device=device, dtype=None if keep_dtype else old.dtype)
        if isinstance(old, nn.Parameter):
            module.register_parameter(leaf, nn.Parameter(value, requires_grad=old.requires_grad))
        else:
            module.register_buffer(leaf, value)
