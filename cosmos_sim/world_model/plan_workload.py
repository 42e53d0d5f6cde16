"""What a training step computes, and what of it falls on one GPU."""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil

import torch

from cosmos_sim.training.layout import ParallelConfig
from cosmos_sim.world_model.dit import DiT, DiTConfig
from cosmos_sim.world_model.recipes.stages import SIZES, Size
from cosmos_sim.world_model.sampler import named

TEXT_TOKENS = 512
"""Tokens of every text embedding (Cosmos-Reason1, padded)."""

SPATIAL, TEMPORAL = 8, 4
"""Pixels of a latent along each side, and frames of every latent but the first, in the Wan2.1 tokenizer."""


def resolution(name: str) -> Size:
    """Height and width of ``256p``, ``480p``, ``720p`` (the first size of that stage) or ``HEIGHT,WIDTH``.

    Raises:
        ValueError: neither; the message suggests the nearest name.
    """
    sides = name.replace("x", ",").split(",")
    if len(sides) == 2 and all(side.strip().isdecimal() for side in sides):
        return int(sides[0]), int(sides[1])
    return named(SIZES, name, "resolution")[0]


@dataclass(frozen=True)
class Workload:
    """A network in full training, and what it is trained on."""

    network: DiTConfig
    size: Size = SIZES["720p"][0]
    """Height and width in pixels."""
    frames: int = 93
    """Frames of a video; 1 for images, whose tokens are never split over GPUs."""
    batch: int = 1
    """Samples that a GPU, or a context group together, takes through the network at once."""
    accumulate: int = 1
    """Such passes in one step."""
    ema: bool = True
    """Whether an average over the weights is kept on the GPU."""
    bf16: bool = True
    """Whether blocks compute in bf16; otherwise all is fp32."""

    def __post_init__(self) -> None:
        for name in ("frames", "batch", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if (self.frames - 1) % TEMPORAL:
            near = 1 + round((self.frames - 1) / TEMPORAL) * TEMPORAL
            raise ValueError(f"frames={self.frames} is not 1 plus a multiple of {TEMPORAL}; {near} is")
        for side, patch in zip(self.size, self.network.patch[1:], strict=True):
            if side < 1 or side % (SPATIAL * patch):
                raise ValueError(f"size {self.size} does not divide into patches of {SPATIAL * patch} pixels")
        if self.latent[0] % self.network.patch[0]:
            raise ValueError(f"{self.latent[0]} latent frames do not divide into patches of {self.network.patch[0]}")

    @property
    def latent(self) -> tuple[int, int, int]:
        """Frames, rows and columns of a sample's latents."""
        return 1 + (self.frames - 1) // TEMPORAL, self.size[0] // SPATIAL, self.size[1] // SPATIAL

    @property
    def grid(self) -> tuple[int, int, int]:
        """Frames, rows and columns of a sample's tokens."""
        t, h, w = (side // patch for side, patch in zip(self.latent, self.network.patch, strict=True))
        return t, h, w

    @property
    def tokens(self) -> int:
        """Tokens of one sample."""
        t, h, w = self.grid
        return t * h * w

    @property
    def text_tokens(self) -> int:
        return 0 if self.network.context_dim is None else TEXT_TOKENS

    def context(self, parallel: ParallelConfig) -> int:
        """GPUs that share the tokens of a sample: none with images."""
        return parallel.context if self.frames > 1 else 1

    def load(self, parallel: ParallelConfig) -> "Load":
        """What one GPU computes in one pass."""
        t, h, w = self.grid
        own = t * ceil(h * w / self.context(parallel))
        return Load(
            network=self.network,
            tokens=self.batch * own,
            frames=self.batch * t,
            text=self.batch * self.text_tokens,
            places=self.batch * self.latent[0] * self.latent[1] * self.latent[2],
            itemsize=2 if self.bf16 else 4,
            split=self.context(parallel) > 1,
        )


@dataclass(frozen=True)
class Load:
    """One GPU's part of one pass: its numbers of tokens, temporal tokens and text tokens over the batch."""

    network: DiTConfig
    tokens: int
    """Of the video, its share of them in a context group, padding included."""
    frames: int
    """Temporal tokens: each has its own modulation. A context group does not share them."""
    text: int
    places: int
    """Positions of latents; a context group does not share them."""
    itemsize: int
    """Bytes of a number inside the blocks."""
    split: bool
    """Whether the tokens are shared in a context group."""


@dataclass(frozen=True)
class Weights:
    """Numbers of parameters, by how they are computed with: in bf16, or exactly, in fp32."""

    block: int
    block_exact: int
    ends: int
    """Of everything before and after the blocks."""
    ends_exact: int
    blocks: int

    @property
    def all(self) -> int:
        return self.blocks * (self.block + self.block_exact) + self.ends + self.ends_exact

    @property
    def rounded(self) -> int:
        """All those that have a copy in bf16."""
        return self.blocks * self.block + self.ends


@lru_cache
def weights(config: DiTConfig) -> Weights:
    """Counted in the network itself, built without memory."""
    with torch.device("meta"):
        network = DiT(replace(config, num_blocks=1)).cast(torch.bfloat16)
    counts = dict.fromkeys([(inside, exact) for inside in (True, False) for exact in (True, False)], 0)
    for name, parameter in network.named_parameters():
        counts[name.startswith("blocks."), parameter.dtype == torch.float32] += parameter.numel()
    return Weights(
        counts[True, False], counts[True, True], counts[False, False], counts[False, True], config.num_blocks
    )
