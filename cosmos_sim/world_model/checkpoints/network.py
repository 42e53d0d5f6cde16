"""A denoising network on disk, in any of the formats."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cosmos_sim.data.files import new_file, new_folder
from cosmos_sim.data.pretrained import from_dict, to_json
from cosmos_sim.world_model.checkpoints.dcp import write_dcp
from cosmos_sim.world_model.checkpoints.infer import Unseen, check_network, infer_config
from cosmos_sim.world_model.checkpoints.names import (
    Which,
    diffusers_module,
    from_diffusers,
    from_nvidia,
    is_diffusers,
    to_diffusers,
    to_nvidia,
)
from cosmos_sim.world_model.checkpoints.shards import read_shard, shard_metadata, write_shard, write_shards
from cosmos_sim.world_model.checkpoints.source import DIFFUSERS, OURS, Source
from cosmos_sim.world_model.checkpoints.stored import Weights, shapes
from cosmos_sim.world_model.checkpoints.torch_file import write_torch_file
from cosmos_sim.world_model.dit import DiTConfig

FORMAT = 1
EXTRAS = "cosmos_sim_extras.safetensors"
"""Beside diffusers' own files: the weights that diffusers has no place for, our configuration in the header."""
SHARD = 5_000_000_000
"""Bytes of a shard unless told otherwise."""


@dataclass(frozen=True)
class Network:
    """A network's configuration and its weights, under our names."""

    config: DiTConfig
    weights: Weights
    adapter: Weights = field(default_factory=dict)
    """LoRA weights that lay among the others, as NVIDIA's trainer leaves them."""


def open_network(source: Source, *, which: Which = "auto", unseen: Unseen | None = None) -> Network:
    """Read a network's configuration and check every weight's name and shape; no data is read yet.

    Args:
        which: the averaged or the regular weights of a training checkpoint.
        unseen: what shapes do not say, for files without a configuration (NVIDIA's).

    Raises:
        ValueError: it is no Cosmos-Predict2.5 network, or an option would be ignored.
    """
    where, stated = str(source.path), source.config
    if source.branches or stated.get("kind") == "control" or stated.get("_class_name") == "CosmosControlNetModel":
        raise ValueError(f"{where} holds control branches, which a network alone does not have")
    if source.is_ours or source.diffusers_class is not None:
        ignored = unseen if unseen is not None else which if which != "auto" else None
        if ignored is not None:
            raise ValueError(f"{ignored} would be ignored: {where} has a config.json, and one set of weights")
    if source.is_ours:
        if stated.get("format") != FORMAT:
            raise ValueError(f"{where} has format {stated.get('format')!r}; this version reads {FORMAT}")
        config = from_dict(DiTConfig, stated.get("dit", {}), where=f"{where}/config.json")
        check_network(shapes(source.weights), config, where)
        return Network(config, source.weights)
    if source.diffusers_class is not None:
        weights = from_diffusers(source.weights)
        layout = Unseen.action_layout
        if (extras := source.path / EXTRAS).is_file():
            weights |= read_shard(extras)
            layout = json.loads(shard_metadata(extras).get("dit", "{}")).get("action_layout", layout)
        patch, ratio = tuple(stated.get("patch_size", Unseen.patch)), tuple(stated.get("rope_scale", Unseen.rope_ratio))
        config = infer_config(shapes(weights), Unseen(patch, ratio, layout), where=where)
        _agree(stated, config, where)
        return Network(config, weights)
    named = from_diffusers(source.weights) if is_diffusers(source.weights) else from_nvidia(source.weights, which)
    adapter = {name: tensor for name, tensor in named.items() if ".lora_" in name}
    base = {name: tensor for name, tensor in named.items() if ".lora_" not in name}
    return Network(infer_config(shapes(base), unseen, where=where), base, adapter)


def open_merged(source: Source, *, which: Which = "auto", unseen: Unseen | None = None) -> Network:
    """As :func:`open_network`, for those who would ignore an adapter among the weights.

    Raises:
        ValueError: as there; or there is one.
    """
    network = open_network(source, which=which, unseen=unseen)
    if network.adapter:
        raise ValueError(
            f"{source.path} holds a LoRA adapter among its weights: merge it first, with cosmos-sim convert"
        )
    return network


def save_ours(network: Network, folder: Path, *, max_shard: int = SHARD) -> None:
    """Write our folder: ``config.json`` and ``model*.safetensors``."""
    with new_folder(folder) as beside:
        write_shards(network.weights, beside, OURS, max_bytes=max_shard)
        (beside / "config.json").write_text(to_json({"kind": "dit", "format": FORMAT, "dit": network.config}))


def save_nvidia(network: Network, file: Path) -> None:
    """Write NVIDIA's ``.pt``.

    Raises:
        ValueError: NVIDIA has no such network.
    """
    check_exists_there(network.config, "NVIDIA's code")
    with new_file(file) as beside:
        write_torch_file(to_nvidia(network.weights, network.config.head_dim), beside)


def save_dcp(network: Network, folder: Path) -> None:
    """Write a distributed checkpoint that NVIDIA's trainer starts from.

    Raises:
        ValueError: NVIDIA has no such network.
    """
    check_exists_there(network.config, "NVIDIA's code")
    with new_folder(folder) as beside:
        write_dcp(to_nvidia(network.weights, network.config.head_dim), beside)


def save_diffusers(
    network: Network,
    folder: Path,
    *,
    max_shard: int = SHARD,
    keep_actions: bool = False,
    control_every: int | None = None,
) -> None:
    """Write the component folder of a ``CosmosTransformer3DModel``.

    diffusers has no action conditioning. With ``keep_actions`` those weights lie beside its own in a file that it does
    not read (and that this package does): what it then runs is the network without its actions.

    Args:
        control_every: distance of the blocks that take hints of a control network.

    Raises:
        ValueError: diffusers has no such network.
    """
    config = diffusers_config(network.config) | {"controlnet_block_every_n": control_every}
    known = {name: t for name, t in network.weights.items() if diffusers_module(name.rpartition(".")[0]) is not None}
    extras = {name: t for name, t in network.weights.items() if name not in known}
    if extras and not keep_actions:
        raise ValueError(
            f"diffusers has no place for {len(extras)} weights (first: {next(iter(extras))}): it would ignore every "
            "action. To keep them in a file of their own beside its weights, ask for keep_actions"
        )
    if keep_actions and not extras:
        raise ValueError("keep_actions would be ignored: this network has no action embedder")
    with new_folder(folder) as beside:
        write_shards(to_diffusers(known), beside, DIFFUSERS, max_bytes=max_shard)
        if extras:
            header = {"format": "pt", "dit": json.dumps(asdict(network.config))}
            write_shard(extras, beside / EXTRAS, metadata=header)
        (beside / "config.json").write_text(to_json(config))


def diffusers_config(config: DiTConfig) -> dict[str, Any]:
    """``config.json`` of the ``CosmosTransformer3DModel`` that computes the same.

    Raises:
        ValueError: there is none.
    """
    check_exists_there(config, "diffusers")
    return {
        "_class_name": "CosmosTransformer3DModel",
        "_diffusers_version": version("diffusers"),
        "in_channels": config.latent_channels + 1,
        "out_channels": config.latent_channels,
        "num_attention_heads": config.num_heads,
        "attention_head_dim": config.head_dim,
        "num_layers": config.num_blocks,
        "mlp_ratio": config.mlp_ratio,
        "text_embed_dim": config.context_dim,
        "adaln_lora_dim": config.adaln_lora_dim,
        "max_size": [128, 240, 240],
        "patch_size": list(config.patch),
        "rope_scale": list(config.rope_ratio),
        "concat_padding_mask": config.padding_mask,
        "extra_pos_embed_type": None,
        "use_crossattn_projection": config.context_in_dim is not None,
        "crossattn_proj_in_channels": 1024 if config.context_in_dim is None else config.context_in_dim,
        "encoder_hidden_states_channels": config.context_dim,
        "controlnet_block_every_n": None,
        "img_context_dim_in": config.image_dim,
        "img_context_num_tokens": 256,
        "img_context_dim_out": 2048 if config.image_dim is None else config.model_channels,
    }


def check_exists_there(config: DiTConfig, there: str) -> None:
    """Refuse a network that would silently compute something else elsewhere."""
    foreign = {
        "context_dim": config.context_dim is None,
        "causal": config.causal,
        "action_injection": config.action_injection != "timestep",
    }
    for name, is_foreign in foreign.items():
        if is_foreign:
            raise ValueError(f"{there} has no network with {name}={getattr(config, name)!r}")


def _agree(stated: Mapping[str, Any], config: DiTConfig, where: str) -> None:
    """Hold what diffusers' config says about a network against what its weights say."""
    for name, value in diffusers_config(config).items():
        same = name.startswith(("_", "max_size", "controlnet_", "img_context_num", "img_context_dim_out"))
        unused = not config.context_in_dim and name in ("crossattn_proj_in_channels", "encoder_hidden_states_channels")
        if name in stated and stated[name] != value and not same and not unused:
            raise ValueError(f"{where}/config.json says {name}={stated[name]!r}, its weights say {value!r}")
