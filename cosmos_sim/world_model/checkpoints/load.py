"""Networks from disk onto a device, one tensor at a time."""

from pathlib import Path

import torch
from torch import nn

from cosmos_sim.world_model.checkpoints.adapter import merge, open_adapter
from cosmos_sim.world_model.checkpoints.infer import Unseen
from cosmos_sim.world_model.checkpoints.names import Which
from cosmos_sim.world_model.checkpoints.network import open_network
from cosmos_sim.world_model.checkpoints.source import open_source
from cosmos_sim.world_model.checkpoints.stored import Weights
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
    network = open_network(open_source(path), which=which, unseen=unseen)
    if network.adapter:
        raise ValueError(f"{path} holds a LoRA adapter among its weights: merge it first, with cosmos-sim convert")
    weights = network.weights
    if adapter is not None:
        weights = merge(weights, open_adapter(open_source(adapter)))
    with torch.device("meta"):
        model = DiT(network.config)
    if dtype is not None:
        model.cast(dtype)
    fill(model, weights, torch.device(device), keep_dtype=dtype is None)
    return model


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
