"""A model's weights as named tensors, to and from safetensors files."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


def named_weights(model: nn.Module) -> dict[str, Tensor]:
    """The model's own parameters and persistent buffers by name (no copies); one that has two names is listed once."""
    named: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in model.state_dict(keep_vars=True).items():
        if isinstance(value, Tensor) and id(value) not in seen:
            seen.add(id(value))
            named[name] = value
    return named


def save_weights(weights: dict[str, Tensor], path: Path) -> None:
    """Write tensors of any device and memory layout to a safetensors file."""
    save_file({name: tensor.detach().contiguous().cpu() for name, tensor in weights.items()}, path)


@torch.no_grad()
def load_weights(weights: dict[str, Tensor], path: Path) -> None:
    """Copy a file's tensors into ``weights``, in place.

    Raises:
        ValueError: where a name or a shape differs, naming it.
    """
    loaded = load_file(path)
    odd = sorted(loaded.keys() ^ weights.keys())
    if odd:
        where = "is missing from" if odd[0] in weights else "is not in the model but in"
        raise ValueError(f"{odd[0]!r} {where} {path}, as are {len(odd) - 1} others")
    for name, tensor in weights.items():
        if loaded[name].shape != tensor.shape:
            raise ValueError(f"{name!r} is {tuple(loaded[name].shape)} in {path}, {tuple(tensor.shape)} in the model")
        tensor.copy_(loaded[name])
