"""What a forward pass of the transformer costs in arithmetic, and how much of a device's speed it reaches.

Only matrix products count, a multiplication and an addition each as one operation (the usual convention, and that of
``torch.utils.flop_counter``). Training costs three times the forward pass; recomputation does not count.
"""

import math
from dataclasses import replace

from cosmos_sim.world_model.control import ControlConfig
from cosmos_sim.world_model.dit import DiTConfig


def forward_flops(
    config: DiTConfig,
    size: tuple[int, int, int],
    *,
    text_tokens: int = 0,
    image_tokens: int = 1,
    batch: int = 1,
    cached_text: bool = False,
) -> int:
    """Operations of one forward pass over latents of ``t h w``, as ``DiT.forward`` computes it.

    Args:
        text_tokens: length of the text; 0 for a network without cross-attention.
        image_tokens: those of a style image, for a network that reads one; 1 where there is none.
        cached_text: whether text and image come through ``DiT.encode_context``, whose work is then left out.

    Raises:
        ValueError: the size does not divide into patches, or there is text that nobody reads, or none where it is read.
    """
    block = _block_flops(config, size, text_tokens=text_tokens, image_tokens=image_tokens, cached_text=cached_text)
    d, rank, patch = config.model_channels, config.adaln_lora_dim, math.prod(config.patch)
    frames, tokens = _tokens(config, size)
    text = 0
    if config.context_dim is not None and not cached_text:
        text = 2 * text_tokens * (config.context_in_dim or 0) * config.context_dim
        text += 2 * image_tokens * (config.image_dim or 0) * d
    time = 8 * frames * d * d
    ends = 2 * tokens * d * patch * (config.in_channels + config.latent_channels) + 6 * frames * d * rank
    return batch * (config.num_blocks * block + text + time + _action_flops(config, frames) + ends)


def branch_flops(
    base: DiTConfig,
    config: ControlConfig,
    size: tuple[int, int, int],
    *,
    text_tokens: int = 0,
    image_tokens: int = 1,
    batch: int = 1,
    cached_text: bool = False,
) -> int:
    """Operations that one control branch adds to :func:`forward_flops`; arguments and errors as there."""
    block = _block_flops(base, size, text_tokens=text_tokens, image_tokens=image_tokens, cached_text=cached_text)
    d, (_, tokens) = base.model_channels, _tokens(base, size)
    projections = (config.blocks + 1) * 2 * tokens * d * d
    return batch * (config.blocks * block + projections + 2 * tokens * d * math.prod(base.patch) * config.channels)


def attention_flops(
    config: DiTConfig, size: tuple[int, int, int], *, text_tokens: int = 0, image_tokens: int = 1
) -> int:
    """Those of :func:`forward_flops` in attention itself, of one sample: scores, and the sums of values under them.

    Raises:
        ValueError: as :func:`forward_flops`.
    """
    if any(s < p or s % p for s, p in zip(size, config.patch, strict=True)):
        raise ValueError(f"latent of t h w = {size} does not divide into patches of {config.patch}")
    if (text_tokens > 0) != (config.context_dim is not None):
        raise ValueError(f"text_tokens={text_tokens}, but context_dim={config.context_dim}")
    frames, tokens = _tokens(config, size)
    pairs = tokens * tokens * (frames + 1) // (2 * frames) if config.causal else tokens * tokens
    if config.context_dim is not None:
        own = config.action_injection == "cross_attention"
        pairs += tokens * (text_tokens + own + (image_tokens if config.image_dim is not None else 0))
    return config.num_blocks * 4 * pairs * config.model_channels


def _block_flops(
    config: DiTConfig, size: tuple[int, int, int], *, text_tokens: int, image_tokens: int, cached_text: bool
) -> int:
    """Operations of one block on one sample."""
    one = replace(config, num_blocks=1)
    block = attention_flops(one, size, text_tokens=text_tokens, image_tokens=image_tokens)
    d, rank = config.model_channels, config.adaln_lora_dim
    frames, tokens = _tokens(config, size)
    block += 8 * tokens * d * d + 4 * tokens * d * int(d * config.mlp_ratio)
    block += (3 if config.context_dim is not None else 2) * 8 * frames * d * rank
    if config.context_dim is not None:
        own = frames if config.action_injection == "cross_attention" else 0
        block += 4 * tokens * d * d + 4 * own * config.context_dim * d
        if not cached_text:
            block += 4 * text_tokens * config.context_dim * d
    if config.image_dim is not None:
        block += 2 * tokens * d * d + (0 if cached_text else 4 * image_tokens * d * d)
    return block


def _tokens(config: DiTConfig, size: tuple[int, int, int]) -> tuple[int, int]:
    """Temporal tokens, and all tokens."""
    frames, rows, columns = (s // p for s, p in zip(size, config.patch, strict=True))
    return frames, frames * rows * columns


def _action_flops(config: DiTConfig, frames: int) -> int:
    if config.action_dim is None:
        return 0
    outputs = {
        "timestep": (config.model_channels, 3 * config.model_channels),
        "cross_attention": (config.context_dim or 0,),
        "channels": (config.latent_channels,),
    }[config.action_injection]
    rows = frames if config.action_layout == "latent" else 1
    return sum(2 * rows * 4 * config.model_channels * (config.action_dim + out) for out in outputs)


def utilisation(flops: float, seconds: float, peak: float) -> float:
    """Model FLOPs utilisation: ``flops / (seconds * peak)``.

    Raises:
        ValueError: an argument that is not positive.
    """
    if not (flops > 0 and seconds > 0 and peak > 0):
        raise ValueError(f"flops, seconds and peak must be positive, not {flops}, {seconds}, {peak}")
    return flops / (seconds * peak)
