"""Tokenizers on disk: the Wan2.1 VAE in diffusers' folder, and small ones in ours."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from cosmos_sim.data.files import new_folder
from cosmos_sim.data.pretrained import find_folder, from_dict, kind_of, load_weights, read_config, to_json
from cosmos_sim.world_model.tiles import Tiling
from cosmos_sim.world_model.tokenizer import Tokenizer, TokenizerConfig
from cosmos_sim.world_model.wan import WanTokenizer

KIND, WEIGHTS = "tokenizer", "tokenizer.safetensors"
HOLDERS = (KIND, "world")
"""Kinds of folders with a small tokenizer's config and weights in them."""


def open_tokenizer(folder: str | os.PathLike[str], *, tiling: Tiling | None = None) -> WanTokenizer | Tokenizer:
    """The tokenizer in a folder, or in its ``vae`` (Wan) or ``tokenizer`` (small); on the CPU, in fp32.

    Args:
        folder: that of a small world, too: its own tokenizer is taken.
        tiling: of the Wan VAE alone.

    Raises:
        ValueError: there is no tokenizer, or a damaged one, or ``tiling`` would be ignored.
    """
    for path in (Path(folder), Path(folder) / KIND):
        if kind_of(path) in HOLDERS:
            if tiling is not None:
                raise ValueError(f"{tiling} would be ignored: {path} holds a small tokenizer, which needs no tiles")
            return _load(path)[0]
    return WanTokenizer.from_pretrained(folder, tiling=tiling)


def save_tokenizer(tokenizer: WanTokenizer | Tokenizer, folder: Path, *, dtype: torch.dtype | None = None) -> None:
    """Write the folder that :func:`open_tokenizer` reads, whole or not at all.

    ``dtype`` is what a small tokenizer's matrices are written in; a Wan tokenizer is written as it is held.
    """
    if isinstance(tokenizer, WanTokenizer):
        tokenizer.save_pretrained(folder)
    else:
        with new_folder(folder) as beside:
            write_tokenizer(tokenizer, tokenizer.config, {}, beside, dtype=dtype)


def write_tokenizer(
    tokenizer: Tokenizer,
    config: TokenizerConfig,
    provenance: Mapping[str, Any],
    folder: Path,
    *,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a small tokenizer's config and weights, vectors and statistics in fp32, into ``folder``."""
    (folder / "config.json").write_text(to_json({"kind": KIND, "tokenizer": config, "provenance": provenance}))
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in tokenizer.state_dict().items()}
    if dtype is not None:
        network = {name for name, tensor in weights.items() if name.startswith("vae.") and tensor.ndim > 1}
        weights = {name: tensor.to(dtype) if name in network else tensor for name, tensor in weights.items()}
    save_file(weights, folder / WEIGHTS)


def load_tokenizer(folder: str | os.PathLike[str]) -> tuple[Tokenizer, TokenizerConfig, Mapping[str, Any]]:
    """A small tokenizer, its config with latent statistics, and where it came from.

    Raises:
        ValueError: ``folder`` holds no tokenizer, or a damaged one.
    """
    path = find_folder(folder, KIND)
    read_config(path, KIND)
    return _load(path)


def _load(path: Path) -> tuple[Tokenizer, TokenizerConfig, Mapping[str, Any]]:
    values = read_config(path, *HOLDERS)
    config = from_dict(TokenizerConfig, values["tokenizer"], where=str(path / "config.json"))
    tokenizer = Tokenizer(config)
    load_weights(tokenizer, path / WEIGHTS)
    return tokenizer, config, values["provenance"]
