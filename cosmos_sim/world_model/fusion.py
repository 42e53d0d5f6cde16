"""Weights joined into one, so that one product does the work of several; state dicts keep the separate names."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


def join_linear(owner: nn.Module, name: str, layers: Mapping[str, nn.Module]) -> None:
    """Give ``owner`` the parameter ``name``: the weights of ``layers``, one below the other.

    ``layers`` maps their names, seen from ``owner``, to linear layers without bias; the caller removes them. ``owner``
    still reads and writes state dicts with their names.

    Raises:
        ValueError: a layer is something else, such as one with an adapter.
    """
    weights: dict[str, Tensor] = {}
    for part, layer in layers.items():
        if type(layer) is not nn.Linear or len(list(layer.parameters())) != 1:
            raise ValueError(
                f"{part} is a {type(layer).__name__}, not a plain linear layer; merge adapters before fuse()"
            )
        weights[f"{part}.weight"] = layer.weight
    trained = any(weight.requires_grad for weight in weights.values())
    joined = nn.Parameter(torch.cat([weight.detach() for weight in weights.values()]), requires_grad=trained)
    parent, _, leaf = name.rpartition(".")
    owner.get_submodule(parent).register_parameter(leaf, joined)
    sizes = {key: len(weight) for key, weight in weights.items()}
    owner.register_state_dict_post_hook(partial(_split, name=name, sizes=sizes))
    owner.register_load_state_dict_pre_hook(partial(_join, name=name, sizes=sizes))


def _split(
    module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any, *, name: str, sizes: Mapping[str, int]
) -> None:
    pieces = state.pop(prefix + name).split(list(sizes.values()))
    state.update({prefix + part: piece for part, piece in zip(sizes, pieces, strict=True)})


def _join(
    module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any, name: str, sizes: Mapping[str, int]
) -> None:
    names = [prefix + part for part in sizes]
    if all(part in state for part in names):
        state[prefix + name] = torch.cat([state.pop(part) for part in names])
