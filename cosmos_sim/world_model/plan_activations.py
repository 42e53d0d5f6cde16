"""What the transformer keeps of a forward pass for the backward pass, tensor by tensor, at each level of checkpointing.

The lists follow ``Block.forward`` and ``FinalLayer.forward`` line by line, with kernels that keep no more than they
must: fused RMS norms, and an attention that keeps its inputs, its output and a number a row (flash, cuDNN). Compiled
blocks keep the same at the levels that recompute, and less without checkpointing.
"""

from dataclasses import dataclass
from typing import Literal

from cosmos_sim.training.layout import Checkpointing
from cosmos_sim.world_model.plan_workload import Load

Source = Literal["input", "product", "attention", "other"]
"""Where a tensor comes from: given to the block; a matrix product; attention; anything else."""

STORED: dict[Checkpointing, tuple[Source, ...]] = {
    "none": ("input", "product", "attention", "other"),
    "selective": ("input", "product", "attention"),
    "attention": ("input", "attention"),
    "full": ("input",),
}
"""What each level stores; the backward pass computes the rest again, block by block."""


@dataclass(frozen=True)
class Saved:
    """A tensor of a block that the backward pass may need."""

    name: str
    source: Source
    bytes: int
    needed: bool = True
    """Whether a derivative needs it; without checkpointing only that is kept."""


def block_tensors(load: Load) -> list[Saved]:
    """All that one block makes and could keep, with what it was given."""
    config, size = load.network, load.itemsize
    wide = load.tokens * config.model_channels * size
    number = load.tokens * 4
    heads = config.num_heads * number
    hidden = load.tokens * int(config.model_channels * config.mlp_ratio) * size
    rows = [Saved("x", "input", wide)]

    def modulated(name: str, *, first: bool = False) -> None:
        frame = load.frames * config.model_channels
        if not first:
            rows.append(Saved(f"{name}: x", "other", wide))
        rows.extend(
            [
                Saved(f"{name}: SiLU of the embedding", "other", 4 * frame),
                Saved(f"{name}: narrow modulation", "product", 4 * load.frames * config.adaln_lora_dim),
                Saved(f"{name}: modulation", "product", 12 * frame, needed=False),
                Saved(f"{name}: shift, scale, gate", "other", 3 * size * frame),
                Saved(f"{name}: 1 + scale", "other", size * frame),
                Saved(f"{name}: mean and deviation", "other", 2 * load.tokens * size),
                Saved(f"{name}: normalised", "other", wide),
                Saved(f"{name}: modulated", "other", wide),
            ]
        )

    modulated("self-attention", first=True)
    rows += [
        Saved("self-attention: q", "product", wide),
        Saved("self-attention: k", "product", wide),
        Saved("self-attention: v", "product", wide, needed=not load.split),
        Saved("self-attention: deviations of q and k", "other", 2 * heads),
        Saved("self-attention: q and k, rotated", "other", 2 * wide),
        Saved("self-attention: attended", "attention", wide),
        Saved("self-attention: log-sums", "attention", heads),
        Saved("self-attention: output", "product", wide),
    ]
    if load.split:
        rows += [
            Saved("self-attention: v, exchanged", "other", wide),
            Saved("self-attention: attended, exchanged", "other", wide),
        ]
    if config.context_dim is not None:
        modulated("cross-attention")
        text = load.text * config.model_channels * size
        rows += [
            Saved("cross-attention: q", "product", wide),
            Saved("cross-attention: k", "product", text),
            Saved("cross-attention: v", "product", text),
            Saved("cross-attention: deviations of q and k", "other", heads + 4 * config.num_heads * load.text),
            Saved("cross-attention: q and k, normalised", "other", wide + text),
            Saved("cross-attention: attended", "attention", wide),
            Saved("cross-attention: log-sums", "attention", heads),
            Saved("cross-attention: output", "product", wide),
        ]
    modulated("MLP")
    rows += [
        Saved("MLP: hidden", "product", hidden),
        Saved("MLP: activated", "other", hidden),
        Saved("MLP: output", "product", wide),
    ]
    return rows


def kept(load: Load, level: Checkpointing) -> int:
    """Bytes that one block keeps until its backward pass."""
    stored = STORED[level]
    return sum(t.bytes for t in block_tensors(load) if (t.needed if level == "none" else t.source in stored))


def remade(load: Load, level: Checkpointing) -> int:
    """Bytes that appear when one block is computed again, beyond those that it kept."""
    return sum(t.bytes for t in block_tensors(load) if t.source not in STORED[level] and t.needed)


def gradients_of_activations(load: Load) -> int:
    """The most that gradients of activations take at once in a block: of the MLP's middle, its output and input."""
    width = load.network.model_channels
    return load.tokens * load.itemsize * (2 * width + int(width * load.network.mlp_ratio))


def outside(load: Load) -> int:
    """Bytes kept outside the blocks and the final layer: patches, text, embedded times, rotary tables, loss."""
    config, size = load.network, load.itemsize
    patch = config.patch[0] * config.patch[1] * config.patch[2]
    latents = load.places * (config.in_channels * size + 4 * 4 * config.latent_channels)
    text = 0
    if config.context_dim is not None:
        text = size * load.text * config.context_dim * (1 if config.context_in_dim is None else 2)
        text += size * load.text * (config.context_in_dim or 0)
    time = 4 * load.frames * config.model_channels * 8
    rotary = 8 * load.places // patch * config.head_dim
    return latents + text + time + rotary


def final_layer(load: Load) -> int:
    """Bytes that the final layer keeps, in fp32: its input, normalised, and modulated."""
    return 3 * 4 * load.tokens * load.network.model_channels


def final_layer_gradients(load: Load) -> int:
    """The most that gradients take at once there: of its product's input, and after the modulation."""
    return 2 * 4 * load.tokens * load.network.model_channels
