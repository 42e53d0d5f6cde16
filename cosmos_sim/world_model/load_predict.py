"""A :class:`Predict` from files on disk; the large networks are read when they are needed."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from cosmos_sim.training.device import select_device, select_dtype
from cosmos_sim.world_model.checkpoints.load import load_dit
from cosmos_sim.world_model.checkpoints.network import open_network
from cosmos_sim.world_model.checkpoints.source import open_source
from cosmos_sim.world_model.denoise import SAMPLING, SamplingConfig
from cosmos_sim.world_model.dit import DiT, DiTConfig
from cosmos_sim.world_model.pipeline import PipelineConfig
from cosmos_sim.world_model.predict import Predict
from cosmos_sim.world_model.reason1 import Reason1, Reason1Config
from cosmos_sim.world_model.request import NEGATIVE_PROMPT
from cosmos_sim.world_model.sampler import named
from cosmos_sim.world_model.text import TextConditioner, TextEncoder
from cosmos_sim.world_model.tiles import Tiling
from cosmos_sim.world_model.tokenizer_folder import open_tokenizer
from cosmos_sim.world_model.words import Words, find_words


def load_predict(
    model: str | Path,
    *,
    tokenizer: str | Path | None = None,
    text_encoder: Reason1Config | None = None,
    prompt_cache: Path | None = None,
    sampling: str | SamplingConfig | None = None,
    changes: Mapping[str, Any] | None = None,
    size: tuple[int, int] = PipelineConfig.size,
    chunk: int = PipelineConfig.chunk,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    low_vram: bool = False,
    compiled: bool = False,
    tiling: Tiling | None = None,
) -> Predict:
    """A pipeline of a network in any format that ``cosmos-sim convert`` reads, a tokenizer, and its text encoder.

    Args:
        model: the network's file or folder, or diffusers' folder of a whole pipeline.
        tokenizer: the folder of the Wan2.1 VAE or of a small tokenizer; that in ``model`` when not given.
        text_encoder: for a network without an encoder in its folder: Cosmos-Reason1-7B as released when not given; its
            width is the one that the network reads.
        prompt_cache: a folder for embeddings of prompts, 103 MB each as released.
        sampling: of :data:`SAMPLING`, or one's own; the post-trained checkpoint of the network's size when not given.
        changes: fields of the sampling to set otherwise.
        size: height and width that the network was trained at.
        chunk: frames that it was trained to make at once.
        low_vram: whether the networks are on the device one after another.
        compiled: whether the network's blocks are compiled, which takes a minute or two at the first evaluation.
        tiling: code images in tiles, for cards that cannot hold a whole one; not exact.

    Raises:
        ValueError: a file that is missing, damaged or foreign; the network is not loaded then.
    """
    place = select_device(str(device))
    kind = select_dtype(dtype, place)
    config = open_network(open_source(model)).config
    chosen = named(SAMPLING, sampling, "sampling") if isinstance(sampling, str) else sampling or _released(config)
    chosen = replace(chosen, **(changes or {}))
    codec = open_tokenizer(model if tokenizer is None else tokenizer, tiling=tiling).cast(kind)
    encoder = open_encoder(model, config, text_encoder, device=place)
    own = isinstance(encoder, Words)

    def network() -> DiT:
        dit = load_dit(model, device=place, dtype=kind).fuse()
        return dit.compile_blocks() if compiled else dit

    return Predict(
        PipelineConfig(
            config,
            chosen,
            temporal=codec.temporal,
            spatial=codec.spatial,
            chunk=chunk,
            size=size,
            negative_prompt=None if own else NEGATIVE_PROMPT,
        ),
        dit=network,
        tokenizer=lambda: codec,
        text=None if encoder is None else TextConditioner(encoder, cache=None if own else prompt_cache),
        device=place,
        low_vram=low_vram,
    )


def open_encoder(
    model: str | Path, config: DiTConfig, given: Reason1Config | None, *, device: torch.device
) -> TextEncoder | None:
    """What embeds prompts for the network of ``config`` in ``model``; ``None`` for one that reads no text.

    Args:
        given: Cosmos-Reason1 as it is to be run, for a network whose folder holds no encoder.

    Raises:
        ValueError: the folder's encoder is damaged or not the network's, or ``given`` would be ignored.
    """
    width = config.context_in_dim or config.context_dim
    if width is None:
        return None
    words = find_words(model)
    if words is None:
        return Reason1(replace(given or Reason1Config(), width=width), device=device)
    if given is not None:
        raise ValueError(f"the text encoder {given.model!r} would be ignored: {model} holds its own")
    if words.width != width:
        raise ValueError(f"the text encoder in {model} makes vectors of {words.width}, its network reads {width}")
    return words


def _released(config: DiTConfig) -> SamplingConfig:
    """How the post-trained checkpoint of a network's size is sampled."""
    widths = {2048: "predict2.5-2b", 5120: "predict2.5-14b"}
    if config.model_channels not in widths:
        raise ValueError(
            f"no released network is {config.model_channels} wide: say how it is sampled, {' or '.join(SAMPLING)}"
        )
    return SAMPLING[widths[config.model_channels]]
