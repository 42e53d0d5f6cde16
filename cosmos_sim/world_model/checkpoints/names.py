"""Three namings of one network: NVIDIA's files, diffusers, and ours (NVIDIA's without their ``net.`` prefix)."""

from collections.abc import Callable, Mapping
from typing import Literal

import torch

from cosmos_sim.world_model.checkpoints.stored import StoredTensor, Weights, held

Which = Literal["auto", "ema", "regular"]
"""Which of a training checkpoint's two sets of weights; ``auto`` is the averaged ones where there are any."""

TOP = {
    "x_embedder.proj.1": "patch_embed.proj",
    "t_embedder.1.linear_1": "time_embed.t_embedder.linear_1",
    "t_embedder.1.linear_2": "time_embed.t_embedder.linear_2",
    "t_embedding_norm": "time_embed.norm",
    "crossattn_proj.0": "crossattn_proj.0",
    "img_context_proj.0": "img_context_proj.0",
    "final_layer.adaln_modulation.1": "norm_out.linear_1",
    "final_layer.adaln_modulation.2": "norm_out.linear_2",
    "final_layer.linear": "proj_out",
}
ATTENTION = {
    "q_proj": "to_q",
    "k_proj": "to_k",
    "v_proj": "to_v",
    "output_proj": "to_out.0",
    "q_norm": "norm_q",
    "k_norm": "norm_k",
}
IMAGE = ("q_img", "k_img", "v_img", "q_img_norm", "k_img_norm")
BLOCK = {
    **{f"self_attn.{ours}": f"attn1.{theirs}" for ours, theirs in ATTENTION.items()},
    **{f"cross_attn.{ours}": f"attn2.{theirs}" for ours, theirs in ATTENTION.items()},
    **{f"cross_attn.{name}": f"attn2.{name}" for name in IMAGE},
    **{
        f"adaln_modulation_{part}.{layer}": f"norm{number}.linear_{layer}"
        for number, part in enumerate(("self_attn", "cross_attn", "mlp"), start=1)
        for layer in (1, 2)
    },
    "mlp.layer1": "ff.net.0.proj",
    "mlp.layer2": "ff.net.2",
}
TOP_BACK = {theirs: ours for ours, theirs in TOP.items()}
BLOCK_BACK = {theirs: ours for ours, theirs in BLOCK.items()}

MAX_POSITIONS = 128
"""Length of the released networks' position table: the most latent frames, and rows or columns after patching."""


def diffusers_module(name: str) -> str | None:
    """diffusers' name of a module of ours; ``None`` where it has no such module."""
    return rename_module(name, TOP, BLOCK, "blocks", "transformer_blocks")


def our_module(name: str) -> str | None:
    """Our name of a module of diffusers'; ``None`` where we have no such module."""
    return rename_module(name, TOP_BACK, BLOCK_BACK, "transformer_blocks", "blocks")


def to_diffusers(weights: Weights) -> dict[str, StoredTensor]:
    """Weights under diffusers' names; those that diffusers has no place for keep theirs."""
    return renamed(weights, diffusers_module)


def from_diffusers(weights: Weights) -> dict[str, StoredTensor]:
    """Weights under our names; what we have no place for keeps its name, to be refused by it."""
    return renamed(weights, our_module)


def renamed(weights: Weights, module: Callable[[str], str | None]) -> dict[str, StoredTensor]:
    """Weights with their modules renamed; where ``module`` gives none they keep their names."""
    found = {}
    for name, tensor in weights.items():
        owner, _, leaf = name.rpartition(".")
        new = module(owner)
        found[name if new is None else f"{new}.{leaf}"] = tensor
    return found


def is_diffusers(weights: Weights) -> bool:
    return any(name.startswith(("transformer_blocks.", "patch_embed.", "time_embed.")) for name in weights)


def from_nvidia(weights: Weights, which: Which = "auto") -> dict[str, StoredTensor]:
    """Weights under our names, without the counters, position tables and extra state that are no weights.

    Raises:
        ValueError: ``which`` asks for a set of weights that is not there.
    """
    prefixes = {"ema": "net_ema.", "regular": "net."}
    there = {key: prefix for key, prefix in prefixes.items() if any(name.startswith(prefix) for name in weights)}
    if which != "auto" and which not in there and (there or which == "ema"):
        raise ValueError(f"there are no {which} weights, only {' and '.join(there) or 'unprefixed ones'}")
    if there:
        prefix = there[which] if which != "auto" else there.get("ema", "net.")
        weights = {name.removeprefix(prefix): t for name, t in weights.items() if name.startswith(prefix)}
    # Where an adapter was injected, the layer under it is stored as its base_layer.
    return {name.replace(".base_layer.", "."): t for name, t in weights.items() if not _ignored(name)}


def to_nvidia(weights: Weights, head_dim: int) -> dict[str, StoredTensor]:
    """Weights under NVIDIA's names, with the position tables that its files hold, in the weights' dtype."""
    dtype = weights["x_embedder.proj.1.weight"].dtype
    tables = {f"net.pos_embedder.{name}": held(table.to(dtype)) for name, table in position_tables(head_dim).items()}
    return tables | {f"net.{name}": tensor for name, tensor in weights.items()}


def position_tables(head_dim: int) -> dict[str, torch.Tensor]:
    """The rotary embedding's constant buffers: positions, and 2i/d along space (d = 2 floor(head/6)) and time."""
    spatial = head_dim // 6 * 2
    temporal = head_dim - 2 * spatial
    return {
        "seq": torch.arange(MAX_POSITIONS, dtype=torch.float32),
        "dim_spatial_range": torch.arange(0, spatial, 2).float() / spatial,
        "dim_temporal_range": torch.arange(0, temporal, 2).float() / temporal,
    }


def _ignored(name: str) -> bool:
    return name.endswith("_extra_state") or name.startswith(("accum_", "pos_embedder."))


def rename_module(name: str, top: Mapping[str, str], block: Mapping[str, str], old: str, new: str) -> str | None:
    """A module's new name: by ``top``, or by ``block`` within the list of blocks ``old``, called ``new`` there."""
    head, _, rest = name.partition(".")
    if head != old:
        return top.get(name)
    number, _, part = rest.partition(".")
    return f"{new}.{number}.{block[part]}" if number.isdigit() and part in block else None
