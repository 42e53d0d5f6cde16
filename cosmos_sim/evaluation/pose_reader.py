"""Where the hand is, read off frames: an instrument that imagined frames are measured with, and no part of a world.

A world says where the hand is in two ways, by the state that it predicts and by the frames that it shows, and only the
first can be compared directly. In training (:mod:`cosmos_sim.evaluation.pose_recipe`) the reader sees real frames only,
so that it cannot learn to make up for what a world gets wrong. Its own error on held-out real frames goes with it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
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
from cosmos_sim.policies.encoder import resize
from cosmos_sim.types import Frames

KIND, FORMAT = "reader", 1
WEIGHTS = "model.safetensors"
GROUPS = 4
_BATCH = 64


@dataclass(frozen=True)
class PoseReaderConfig:
    """Sizes of :class:`PoseNet`."""

    cameras: tuple[str, ...]
    resolution: int = 128
    """Images of any size are resized to so many pixels squared, and seen whole: a crop would move the hand."""
    width: int = 16
    """Channels of the first convolution, then twice and four times that."""
    features: int = 64
    """Size of the vector that each camera becomes."""
    hidden: int = 128
    dim: int = 3
    """How many values are read: the first of the state, which are taken to be the hand's position in metres."""

    def __post_init__(self) -> None:
        if not self.cameras or len(set(self.cameras)) != len(self.cameras):
            raise ValueError(f"cameras must be one or more, all different, got {self.cameras}")
        if self.resolution < 16 or self.resolution % 16:
            raise ValueError(f"resolution must be a positive multiple of 16, got {self.resolution}")
        if self.width < 4 or self.width % 4:
            raise ValueError(f"width must be a positive multiple of 4, got {self.width}")
        for name in ("features", "hidden", "dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


class Eye(nn.Module):
    """One camera: four convolutions down to a sixteenth of the resolution, then a linear map that knows places.

    Keypoints by a spatial softmax, as policies have them, learned three times as slowly here (one run each): the
    background stands still, so that what is where can be learned by heart.
    """

    def __init__(self, config: PoseReaderConfig) -> None:
        super().__init__()
        w, side = config.width, config.resolution // 16
        self.conv1 = nn.Conv2d(3, w, 5, stride=2, padding=2)
        self.conv2 = nn.Conv2d(w, 2 * w, 3, stride=2, padding=1)
        self.norm2 = nn.GroupNorm(GROUPS, 2 * w)
        self.conv3 = nn.Conv2d(2 * w, 4 * w, 3, stride=2, padding=1)
        self.norm3 = nn.GroupNorm(GROUPS, 4 * w)
        self.conv4 = nn.Conv2d(4 * w, 4 * w, 3, stride=2, padding=1)
        self.norm4 = nn.GroupNorm(GROUPS, 4 * w)
        self.out = nn.Linear(4 * w * side**2, config.features)

    def forward(self, images: Float[Tensor, "b 3 r r"]) -> Float[Tensor, "b d"]:
        x = F.silu(self.conv1(images))
        x = F.silu(self.norm2(self.conv2(x)))
        x = F.silu(self.norm3(self.conv3(x)))
        x = F.silu(self.norm4(self.conv4(x)))
        return F.silu(self.out(x.flatten(1)))


class PoseNet(nn.Module):
    """An :class:`Eye` for each camera, and a position from what all of them see."""

    centre: Float[Tensor, "k"]
    scale: Float[Tensor, "k"]

    def __init__(self, config: PoseReaderConfig) -> None:
        super().__init__()
        self.config = config
        self.eyes = nn.ModuleList(Eye(config) for _ in config.cameras)
        self.head = nn.Sequential(
            nn.Linear(config.features * len(config.cameras), config.hidden),
            nn.SiLU(),
            nn.Linear(config.hidden, config.dim),
        )
        self.register_buffer("centre", torch.zeros(config.dim))
        self.register_buffer("scale", torch.ones(config.dim))

    def forward(
        self, frames: Mapping[str, UInt8[Tensor, "b r r c"]], jitter: Float[Tensor, "b 2"] | None = None
    ) -> Float[Tensor, "b k"]:
        """The position in units of ``scale`` about ``centre``; ``jitter`` is a contrast and a brightness for each."""
        seen = []
        for camera, eye in zip(self.config.cameras, self.eyes, strict=True):
            images = rearrange(frames[camera], "b h w c -> b c h w").float() / 127.5 - 1
            if jitter is not None:
                images = images * jitter[:, 0, None, None, None] + jitter[:, 1, None, None, None]
            seen.append(eye(images))
        return self.head(torch.cat(seen, dim=-1))


class PoseReader:
    """A trained :class:`PoseNet`, ready to read."""

    def __init__(
        self, net: PoseNet, *, figures: Mapping[str, float], metadata: Mapping[str, Any] | None = None
    ) -> None:
        self.net = net.eval().requires_grad_(False)
        self.figures = dict(figures)
        """Its own error on real frames of held-out episodes: ``median_mm``, ``p90_mm``, and ``frames``, how many."""
        self.metadata = dict(metadata or {})

    @property
    def cameras(self) -> tuple[str, ...]:
        return self.net.config.cameras

    @torch.inference_mode()
    def read(self, frames: Frames) -> Float32[ndarray, "n k"]:
        """The hand's position in metres in each of ``n`` moments (``frames[camera]``: uint8 ``n h w c``, any size).

        Always computed in fp32: a measuring instrument gives one answer, wherever it is called.

        Raises:
            ValueError: for a missing camera, or frames of another type or shape.
        """
        for camera in self.cameras:
            if camera not in frames:
                raise ValueError(f"the reader was trained on camera {camera!r}; there are {sorted(frames)}")
            if frames[camera].dtype != np.uint8 or frames[camera].ndim != 4:
                raise ValueError(f"{camera!r} must be uint8 n h w c, got {frames[camera].dtype} {frames[camera].shape}")
        device, count = self.net.scale.device, len(frames[self.cameras[0]])
        parts = []
        for first in range(0, count, _BATCH):
            seen = {
                camera: resize(
                    torch.from_numpy(np.ascontiguousarray(frames[camera][first : first + _BATCH])).to(device),
                    self.net.config.resolution,
                )
                for camera in self.cameras
            }
            with torch.autocast(device.type, enabled=False):
                parts.append((self.net(seen) * self.net.scale + self.net.centre).cpu().numpy())
        return np.concatenate(parts) if parts else np.zeros((0, self.net.config.dim), dtype=np.float32)

    def write(self, folder: Path) -> None:
        """config.json, model.safetensors (half-precision parameters) and README.md, into an existing folder."""
        config = {
            "kind": KIND,
            "format": FORMAT,
            "reader": self.net.config,
            "figures": self.figures,
            "metadata": self.metadata,
        }
        write_small(folder, self.net, config, weights=WEIGHTS, card=_card(self))

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], *, device: str | torch.device = "cpu") -> "PoseReader":
        """Load what ``cosmos-sim train reader`` exported, by folder, shipped name or hub id.

        Raises:
            ValueError: no such reader, or a damaged or foreign one; the message names the file.
        """
        folder, values = find_small(name, KIND, FORMAT)
        where = str(folder / "config.json")
        net = PoseNet(from_dict(PoseReaderConfig, values["reader"], where=where))
        load_weights(net, folder / WEIGHTS)
        return cls(net.to(device), figures=values["figures"], metadata=values["metadata"])


def _card(reader: PoseReader) -> str:
    parameters = sum(p.numel() for p in reader.net.parameters())
    figures = reader.figures
    lines = [
        "---",
        "library_name: cosmos-sim",
        "tags: [robotics, evaluation]",
        "---",
        "",
        "# A pose reader",
        "",
        f"Reads the hand's position off {' and '.join(reader.cameras)}; {parameters:,} parameters.",
        "Trained on real frames only. `cosmos-sim inspect --reader` measures imagined frames with it.",
        "",
        f"Own error on {figures['frames']:.0f} real frames of held-out episodes: median {figures['median_mm']:.1f} mm, "
        f"90% below {figures['p90_mm']:.1f} mm.",
        "",
        *(f"- {name}: {value}" for name, value in reader.metadata.items()),
        "",
    ]
    return "\n".join(lines)
