"""Depth and segments read off single frames by a small network, which needs no weights from a hub and runs on a CPU.

Trained on a simulator's true annotations (:mod:`cosmos_sim.world_model.recipes.annotator`), it judges frames that a
world has generated, of which no truth exists. A tool for scenes like those that it was trained in, and no others.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Float32, UInt8
from numpy import ndarray
from torch import Tensor, nn
from torch.nn import functional as F

from cosmos_sim.data.pretrained import find_small, from_dict, load_weights, write_small
from cosmos_sim.data.segments import Segments

KIND, FORMAT = "annotator", 1
WEIGHTS = "model.safetensors"
GROUPS = 4
_BATCH = 16


@dataclass(frozen=True)
class AnnotatorConfig:
    """Sizes of :class:`AnnotatorNet`."""

    names: tuple[str, ...]
    """The classes of a pixel, in the order of the ids that it was trained on."""
    widths: tuple[int, ...] = (8, 16, 32, 64, 64)
    """Channels at the full resolution, at a half of it, a quarter and so on."""

    def __post_init__(self) -> None:
        if len(self.names) < 2 or len(set(self.names)) != len(self.names):
            raise ValueError(f"names must be two or more, all different, got {self.names}")
        if len(self.names) > 256:
            raise ValueError(f"ids of a byte tell 256 names apart, got {len(self.names)}")
        if len(self.widths) < 2 or any(width < GROUPS or width % GROUPS for width in self.widths):
            raise ValueError(f"widths must be two or more positive multiples of {GROUPS}, got {self.widths}")

    @property
    def stride(self) -> int:
        """What sizes are padded to a multiple of."""
        return int(2 ** (len(self.widths) - 1))


class Down(nn.Module):
    """To half the resolution, and one residual convolution there."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.halve = nn.Conv2d(width, out, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(GROUPS, out)
        self.conv = nn.Conv2d(out, out, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h/2 w/2"]:
        x = self.halve(x)
        return x + F.silu(self.conv(F.silu(self.norm(x))))


class Up(nn.Module):
    """To twice the resolution, joined with what was seen there on the way down."""

    def __init__(self, width: int, skip: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width + skip, skip, 3, padding=1)
        self.norm = nn.GroupNorm(GROUPS, skip)

    def forward(self, x: Float[Tensor, "b c h w"], skip: Float[Tensor, "b k 2*h 2*w"]) -> Float[Tensor, "b k 2*h 2*w"]:
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return F.silu(self.norm(self.conv(torch.cat([x, skip], dim=1))))


class AnnotatorNet(nn.Module):
    """A U-Net (Ronneberger et al., arXiv:1505.04597): for every pixel a class and the logarithm of its depth."""

    centre: Float[Tensor, ""]
    scale: Float[Tensor, ""]

    def __init__(self, config: AnnotatorConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1)
        self.downs = nn.ModuleList(Down(a, b) for a, b in pairwise(widths))
        self.ups = nn.ModuleList(Up(b, a) for a, b in reversed(list(pairwise(widths))))
        self.head = nn.Conv2d(widths[0], len(config.names) + 1, 1)
        self.register_buffer("centre", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b k h w"], Float[Tensor, "b h w"]]:
        """Logits of the ``k`` classes and the natural logarithm of depth in metres, of images in [-1, 1].

        Any size: images are padded by their own border to a multiple of ``config.stride``.
        """
        height, width = images.shape[-2:]
        stride = self.config.stride
        x = F.silu(self.stem(F.pad(images, (0, -width % stride, 0, -height % stride), mode="replicate")))
        seen = [x]
        for down in self.downs:
            seen.append(down(seen[-1]))
        x = seen.pop()
        for up in self.ups:
            x = up(x, seen.pop())
        out = self.head(x)[..., :height, :width].float()
        return out[:, :-1], out[:, -1] * self.scale + self.centre


@dataclass(frozen=True)
class Reading:
    """What :class:`Annotator` reads off ``t`` frames."""

    depth: Float32[ndarray, "t h w"]
    """Metres along the optical axis."""
    segments: Segments


class Annotator:
    """A trained :class:`AnnotatorNet`, ready to read; an ``Annotator`` of :mod:`cosmos_sim.augmentation.annotators`.

    Frames are those of one camera each: split a picture of several views before.
    """

    def __init__(
        self, net: AnnotatorNet, *, figures: Mapping[str, float], metadata: Mapping[str, Any] | None = None
    ) -> None:
        self.net = net.eval()
        self.figures = dict(figures)
        """Its own errors on true frames of held-out episodes: see the recipe's ``evaluate``."""
        self.metadata = dict(metadata or {})

    @property
    def names(self) -> tuple[str, ...]:
        return self.net.config.names

    @torch.inference_mode()
    def read(self, frames: UInt8[ndarray, "t h w c"]) -> Reading:
        """Depth and segments together, at the price of either. Each frame is read by itself, in fp32.

        Raises:
            ValueError: for frames of another type or shape.
        """
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
            raise ValueError(f"frames must be uint8 (t, h, w, 3), got {frames.dtype} {frames.shape}")
        device = self.net.scale.device
        depth = np.empty(frames.shape[:3], np.float32)
        ids = np.empty(frames.shape[:3], np.uint8)
        for first in range(0, len(frames), _BATCH):
            part = slice(first, first + _BATCH)
            with torch.autocast(device.type, enabled=False):
                logits, log_depth = self.net(to_images(torch.from_numpy(np.ascontiguousarray(frames[part])).to(device)))
            depth[part] = log_depth.exp().cpu().numpy()
            ids[part] = logits.argmax(1).to(torch.uint8).cpu().numpy()
        return Reading(depth, Segments(ids, self.names))

    def depth(self, frames: UInt8[ndarray, "t h w c"]) -> Float32[ndarray, "t h w"]:
        """Metres along the optical axis."""
        return self.read(frames).depth

    def segments(self, frames: UInt8[ndarray, "t h w c"], phrases: Sequence[str]) -> Segments:
        """Where each of ``phrases``, names that it was trained on, is: id 0 is all the rest, id 1 the first of them.

        Raises:
            ValueError: for a name that it does not know.
        """
        return self.read(frames).segments.choose(phrases)

    def write(self, folder: Path) -> None:
        """config.json, model.safetensors (half-precision parameters) and README.md, into an existing folder."""
        config = {
            "kind": KIND,
            "format": FORMAT,
            "annotator": self.net.config,
            "figures": self.figures,
            "metadata": self.metadata,
        }
        write_small(folder, self.net, config, weights=WEIGHTS, card=_card(self))

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], *, device: str | torch.device = "cpu") -> "Annotator":
        """Load what ``cosmos-sim train annotator`` exported, by folder, shipped name or hub id.

        Raises:
            ValueError: no such annotator, or a damaged or foreign one; the message names the file.
        """
        folder, values = find_small(name, KIND, FORMAT)
        where = str(folder / "config.json")
        net = AnnotatorNet(from_dict(AnnotatorConfig, values.get("annotator", {}), where=where))
        load_weights(net, folder / WEIGHTS)
        return cls(net.to(device), figures=values.get("figures", {}), metadata=values.get("metadata"))


def to_images(frames: UInt8[Tensor, "b h w c"]) -> Float[Tensor, "b c h w"]:
    """Frames as the network takes them, in [-1, 1]."""
    return rearrange(frames, "b h w c -> b c h w").float() / 127.5 - 1


def _card(annotator: Annotator) -> str:
    parameters = sum(p.numel() for p in annotator.net.parameters())
    lines = [
        "---",
        "library_name: cosmos-sim",
        "tags: [robotics, depth-estimation, image-segmentation]",
        "---",
        "",
        "# An annotator",
        "",
        f"Reads depth and {', '.join(annotator.names)} off single frames; {parameters:,} parameters.",
        "Trained on a simulator's true annotations: it is for scenes like those, and no others.",
        "",
        "## Measured on true frames of held-out episodes",
        "",
        "| figure | value |",
        "|---|---|",
        *(f"| {name} | {value:.4g} |" for name, value in annotator.figures.items()),
        "",
        *(f"- {name}: {value}" for name, value in annotator.metadata.items()),
        "",
    ]
    return "\n".join(lines)
