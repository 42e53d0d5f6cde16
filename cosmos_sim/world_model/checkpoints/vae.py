"""The Wan2.1 VAE, Cosmos-Predict2.5's tokenizer: ``tokenizer.pth`` under Wan's own names, or diffusers' folder."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from cosmos_sim.data.files import new_file, new_folder
from cosmos_sim.data.pretrained import check_fit
from cosmos_sim.world_model.checkpoints.shards import write_shards
from cosmos_sim.world_model.checkpoints.source import DIFFUSERS, Source
from cosmos_sim.world_model.checkpoints.stored import Weights, shapes
from cosmos_sim.world_model.checkpoints.torch_file import write_torch_file

RESIDUAL = {
    "residual.0": "norm1",
    "residual.2": "conv1",
    "residual.3": "norm2",
    "residual.6": "conv2",
    "shortcut": "conv_shortcut",
}
"""Parts of a residual block."""
OUTER = {"conv1": "quant_conv", "conv2": "post_quant_conv"}
CODER = {
    "conv1": "conv_in",
    "middle.0": "mid_block.resnets.0",
    "middle.1": "mid_block.attentions.0",
    "middle.2": "mid_block.resnets.1",
    "head.0": "norm_out",
    "head.2": "conv_out",
}
"""Parts that the encoder and the decoder share."""


def is_vae(source: Source) -> bool:
    names = ("decoder.middle.0.residual.0.gamma", "decoder.mid_block.resnets.0.norm1.gamma")
    return source.diffusers_class == "AutoencoderKLWan" or any(name in source.weights for name in names)


def open_vae(source: Source) -> tuple[dict[str, Any], Weights]:
    """The configuration of an ``AutoencoderKLWan`` and its weights under diffusers' names; no data is read yet.

    Raises:
        ValueError: it is no Wan VAE; the message names the first missing and unexpected weights.
    """
    where, weights = str(source.path), source.weights
    if source.diffusers_class is not None:
        config = {name: value for name, value in source.config.items() if not name.startswith("_")}
    elif any(name.startswith(("encoder.downsamples.", "decoder.upsamples.")) for name in weights):
        config = infer_vae(shapes(weights))
        weights = {to_diffusers(name, config["num_res_blocks"]): tensor for name, tensor in weights.items()}
    else:
        raise ValueError(f"{where} holds no config.json of an AutoencoderKLWan: give diffusers' folder")
    try:
        expected = expected_vae(config)
    except (TypeError, ValueError, IndexError) as error:
        raise ValueError(f"{where}/config.json describes no AutoencoderKLWan: {error}") from error
    check_fit(shapes(weights), expected, where, what="a Wan2.1 VAE")
    return config, weights


def save_vae_nvidia(config: dict[str, Any], weights: Weights, file: Path) -> None:
    """Write ``tokenizer.pth`` under Wan's own names."""
    blocks = config.get("num_res_blocks", 2)
    with new_file(file) as beside:
        write_torch_file({to_wan(name, blocks): tensor for name, tensor in weights.items()}, beside)


def save_vae_diffusers(config: dict[str, Any], weights: Weights, folder: Path, *, max_shard: int) -> None:
    """Write the component folder of an ``AutoencoderKLWan``."""
    text = {"_class_name": "AutoencoderKLWan", "_diffusers_version": version("diffusers"), **config}
    with new_folder(folder) as beside:
        write_shards(weights, beside, DIFFUSERS, max_bytes=max_shard)
        (beside / "config.json").write_text(json.dumps(text, indent=2) + "\n")


def expected_vae(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a VAE's weights; nothing is allocated."""
    return {name: tuple(tensor.shape) for name, tensor in _on_meta(config).state_dict().items()}


def infer_vae(found: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """The configuration of a VAE, read off its shapes under Wan's names.

    The encoder is, level by level, residual blocks and a resampling that ends the level; the resampling has a
    convolution over time where time is halved. Latent statistics are Wan2.1's, diffusers' own default.
    """
    levels: list[list[tuple[int, ...]]] = [[]]
    halved: list[bool] = []
    count = 1 + max((int(n.split(".")[2]) for n in found if n.startswith("encoder.downsamples.")), default=-1)
    for index in range(count):
        stem = f"encoder.downsamples.{index}"
        if f"{stem}.resample.1.weight" in found:
            halved.append(f"{stem}.time_conv.weight" in found)
            levels.append([])
        else:
            levels[-1].append(found.get(f"{stem}.residual.2.weight", (0,)))
    first = found.get("encoder.conv1.weight", (0, 0))
    if not first[0] or not all(levels):
        raise ValueError(f"no Wan VAE: encoder.conv1.weight has shape {first}, {count} parts follow it")
    return {
        "base_dim": first[0],
        "z_dim": found.get("conv2.weight", (16,))[0],
        "dim_mult": [level[0][0] // first[0] for level in levels],
        "num_res_blocks": len(levels[0]),
        "attn_scales": [],
        "temperal_downsample": halved,
        "dropout": 0.0,
        "in_channels": first[1],
        "out_channels": found.get("decoder.head.2.weight", (3,))[0],
        "scale_factor_temporal": 2 ** sum(halved),
        "scale_factor_spatial": 2 ** (len(levels) - 1),
    }


def to_diffusers(name: str, num_res_blocks: int) -> str:
    """diffusers' name of a weight of Wan's; a name that Wan has not is returned as it is."""
    head, _, rest = name.partition(".")
    if head in OUTER:
        return f"{OUTER[head]}.{rest}"
    if head not in ("encoder", "decoder"):
        return name
    return f"{head}.{_inner(_swap(rest, CODER), num_res_blocks)}"


def to_wan(name: str, num_res_blocks: int) -> str:
    """Wan's name of a weight of diffusers'; a name that diffusers has not is returned as it is."""
    head, _, rest = name.partition(".")
    if head in OUTER.values():
        return f"{_back(OUTER)[head]}.{rest}"
    if head not in ("encoder", "decoder"):
        return name
    return f"{head}.{_inner_back(_swap(rest, _back(CODER)), num_res_blocks)}"


def _inner(rest: str, num_res_blocks: int) -> str:
    """Wan counts the decoder's parts in one row; diffusers counts levels of n + 1 residual blocks and an upsampler."""
    kind, _, tail = rest.partition(".")
    number, _, part = tail.partition(".")
    if kind == "mid_block":
        index, _, part = part.partition(".")
        return f"mid_block.{number}.{index}.{_swap(part, RESIDUAL)}"
    part = _swap(part, RESIDUAL)
    if kind == "downsamples":
        return f"down_blocks.{number}.{part}"
    if kind == "upsamples" and number.isdigit():
        level, offset = divmod(int(number), num_res_blocks + 2)
        place = "upsamplers.0" if offset == num_res_blocks + 1 else f"resnets.{offset}"
        return f"up_blocks.{level}.{place}.{part}"
    return rest


def _inner_back(rest: str, num_res_blocks: int) -> str:
    back = _back(RESIDUAL)
    kind, _, tail = rest.partition(".")
    number, _, part = tail.partition(".")
    if kind == "middle":
        return f"middle.{number}.{_swap(part, back)}"
    if kind == "down_blocks":
        return f"downsamples.{number}.{_swap(part, back)}"
    if kind == "up_blocks":
        place, index, part = part.split(".", 2)
        offset = num_res_blocks + 1 if place == "upsamplers" else int(index)
        return f"upsamples.{int(number) * (num_res_blocks + 2) + offset}.{_swap(part, back)}"
    return rest


def _swap(name: str, table: dict[str, str]) -> str:
    """``name`` with its first part or parts renamed."""
    return next((new + name[len(old) :] for old, new in table.items() if name.startswith(f"{old}.")), name)


def _back(table: dict[str, str]) -> dict[str, str]:
    return {theirs: ours for ours, theirs in table.items()}


def _on_meta(config: dict[str, Any]) -> Any:
    from diffusers import AutoencoderKLWan

    with torch.device("meta"):
        return AutoencoderKLWan(**config)
