"""Latent actions: inverse dynamics whose eyes learned from videos without actions.

As in LAPA (Ye et al., arXiv:2410.11758, section 3.1) a few discrete values are all that a painter is told of what
changes between two frames; to repaint the later frame from the earlier one, the eyes that choose these values have to
see what the robot did. A head that reads the actions off the values, and off what the eyes see, then needs few episodes
whose actions are known. It is that of :mod:`~cosmos_sim.world_model.inverse_dynamics`, and nothing that it learns
reaches the eyes.

The values are rounded one by one (finite scalar quantisation, Mentzer et al., arXiv:2309.15505), their gradient going
straight through: there is no codebook to be learned.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int64, UInt8
from numpy import ndarray
from torch import Tensor, nn
from torch.nn import functional as F

from cosmos_sim.data.pretrained import find_folder, kind_of, shipped
from cosmos_sim.types import Frames
from cosmos_sim.world_model.inverse_dynamics import (
    GROUPS,
    InverseDynamics,
    InverseDynamicsConfig,
    InverseDynamicsNet,
    prepared,
)

_BATCH = 64


@dataclass(frozen=True)
class LatentActionsConfig(InverseDynamicsConfig):
    """Sizes of :class:`LatentActionsNet`."""

    resolution: int = 64
    """Images of any size are resized to so many pixels squared."""
    apart: int = 3
    """The eyes learn from frames of up to so many steps between; actions are read off consecutive ones."""
    tokens: int = 4
    """Codes that tell what changed between two frames, all cameras together."""
    levels: tuple[int, ...] = (7, 5, 5)
    """Values that each number of a code can take, odd so that one is 0: there are as many codes as their product."""
    painted: int = 16
    """Painters see and paint so many pixels squared."""
    dropout: float = 0.5
    """Share of what is seen that a chunk's actions are trained without: few labels are soon learned by heart."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.state_dim:
            raise ValueError(f"latent actions see frames alone, got state_dim={self.state_dim}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")
        if self.painted < 4 or self.painted % 4 or self.resolution % self.painted:
            raise ValueError(f"painted must be a multiple of 4 that divides {self.resolution}, got {self.painted}")
        for name in ("apart", "tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.levels or any(level < 3 or level % 2 == 0 for level in self.levels):
            raise ValueError(f"levels must be odd numbers from 3 on, got {self.levels}")

    @property
    def codes(self) -> int:
        """How many different codes there are."""
        return math.prod(self.levels)


def quantise(z: Float[Tensor, "*b v"], levels: Sequence[int]) -> Float[Tensor, "*b v"]:
    """Finite scalar quantisation: number ``i`` becomes one of ``levels[i]`` (odd) values evenly between -1 and 1.

    Section 3.1 of arXiv:2309.15505, without the offset that even levels need: ``round(h tanh(z)) / h`` with
    ``h = (levels - 1) / 2``. The gradient is that of ``tanh``.
    """
    half = (torch.tensor(levels, device=z.device) - 1) / 2
    bounded = half * z.tanh()
    return (bounded + (bounded.round() - bounded).detach()) / half


def code_index(values: Float[Tensor, "*b v"], levels: Sequence[int]) -> Int64[Tensor, "*b"]:
    """The number of a code from its values, as :func:`quantise` gives them: the first counts ones."""
    half = (torch.tensor(levels, device=values.device) - 1) / 2
    places = torch.tensor(np.cumprod([1, *levels[:-1]]), device=values.device)
    return (((values + 1) * half).round().long() * places).sum(-1)


class Painter(nn.Module):
    """The later frame of one camera, small, from the earlier one and the code.

    The code scales and shifts channels, everywhere alike: it can tell how to move what is there, not where things are.
    """

    def __init__(self, config: LatentActionsConfig) -> None:
        super().__init__()
        w, told = config.width, config.tokens * len(config.levels)
        self.conv1 = nn.Conv2d(3, w, 3, padding=1)
        self.conv2 = nn.Conv2d(w, 2 * w, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(2 * w, 4 * w, 3, stride=2, padding=1)
        self.conv4 = nn.Conv2d(4 * w, 4 * w, 3, padding=1)
        self.conv5 = nn.Conv2d(6 * w, 2 * w, 3, padding=1)
        self.conv6 = nn.Conv2d(3 * w, w, 3, padding=1)
        self.told = nn.ModuleList(nn.Linear(told, 2 * channels) for channels in (w, 2 * w, 4 * w, 4 * w, 2 * w, w))
        self.out = nn.Conv2d(w, 3, 3, padding=1, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, before: Float[Tensor, "n 3 p p"], code: Float[Tensor, "n v"]) -> Float[Tensor, "n 3 p p"]:
        told = [rearrange(layer(code), "n (two c) -> two n c 1 1", two=2) for layer in self.told]
        fine = _modulated(self.conv1(before), told[0])
        middle = _modulated(self.conv2(fine), told[1])
        x = _modulated(self.conv3(middle), told[2])
        x = _modulated(self.conv4(x), told[3])
        x = _modulated(self.conv5(torch.cat([F.interpolate(x, scale_factor=2), middle], dim=1)), told[4])
        x = _modulated(self.conv6(torch.cat([F.interpolate(x, scale_factor=2), fine], dim=1)), told[5])
        return before + self.out(x)


def _modulated(x: Float[Tensor, "n c h w"], told: Float[Tensor, "2 n c 1 1"]) -> Float[Tensor, "n c h w"]:
    return F.silu(F.group_norm(x, GROUPS) * (1 + told[0]) + told[1])


@dataclass(frozen=True, eq=False)
class Painted:
    """Pairs of frames that were painted, of each camera, as small as they are painted."""

    later: Sequence[Float[Tensor, "b 3 p p"]]
    """As painted."""
    real: Sequence[Float[Tensor, "b 2 3 p p"]]
    """Both as they are."""
    codes: Float[Tensor, "b n v"]
    """All that the painters were told of the later ones."""


class LatentActionsNet(InverseDynamicsNet):
    """Eyes, the code of what they see, a :class:`Painter` for each camera, and the head that reads actions."""

    config: LatentActionsConfig

    def __init__(self, config: LatentActionsConfig) -> None:
        super().__init__(config)
        seen, values = config.dim * len(config.cameras), config.tokens * len(config.levels)
        self.code = nn.Sequential(nn.Linear(seen, config.dim), nn.SiLU(), nn.Linear(config.dim, values))
        self.join = nn.Linear(seen + values, config.dim)
        self.painters = nn.ModuleList(Painter(config) for _ in config.cameras)

    def see(
        self,
        frames: Mapping[str, UInt8[Tensor, "b k1 r r c"]],
        jitter: Float[Tensor, "b 2"] | None = None,
        states: Float[Tensor, "b k1 n"] | None = None,
    ) -> Float[Tensor, "b k d"]:
        """The codes of each of the ``k1 - 1`` steps beside what the eyes see, without a way back for gradients."""
        with torch.no_grad():
            seen, codes = self.encode([prepared(frames[camera], jitter) for camera in self.config.cameras])
        found = torch.cat([seen, codes.flatten(2)], dim=-1)
        kept = F.dropout1d(found.transpose(1, 2), self.config.dropout, self.training).transpose(1, 2)
        return self.join(kept)

    def encode(
        self, videos: Sequence[Float[Tensor, "b k1 3 r r"]]
    ) -> tuple[Float[Tensor, "b k e"], Float[Tensor, "b k n v"]]:
        """What the eyes see of each step, and the ``n`` codes of it that a painter is told."""
        seen = F.silu(self.look(videos))
        z = rearrange(self.code(seen).float(), "b k (n v) -> b k n v", n=self.config.tokens)
        return seen, quantise(z, self.config.levels)

    def paint(self, videos: Sequence[Float[Tensor, "b 2 3 r r"]]) -> Painted:
        """Paint the later frame of each pair."""
        _, codes = self.encode(videos)
        factor = self.config.resolution // self.config.painted
        small = [F.avg_pool2d(video.flatten(0, 1), factor).unflatten(0, (-1, 2)) for video in videos]
        told = codes[:, 0].flatten(1)
        painted = [painter(video[:, 0], told) for painter, video in zip(self.painters, small, strict=True)]
        return Painted(painted, small, codes[:, 0])

    def painting_loss(
        self, frames: Mapping[str, UInt8[Tensor, "b 2 r r c"]], jitter: Float[Tensor, "b 2"] | None
    ) -> Float[Tensor, ""]:
        """The mean over the cameras of :func:`unexplained`."""
        painted = self.paint([prepared(frames[camera], jitter) for camera in self.config.cameras])
        return torch.stack([unexplained(*pair) for pair in zip(painted.later, painted.real, strict=True)]).mean()


def unexplained(painted: Float[Tensor, "b 3 p p"], real: Float[Tensor, "b 2 3 p p"]) -> Float[Tensor, ""]:
    """The share of the squared change between two frames that the painted later one misses: 1 if it is the earlier."""
    before, after = real.unbind(1)
    change = (after - before).square().mean()
    return F.mse_loss(painted.float(), after) / (change + 1e-6)


class LatentActions(InverseDynamics):
    """A trained :class:`LatentActionsNet`, ready to read actions, or to code videos of unknown ones."""

    KIND: ClassVar[str] = "latent actions"
    CONFIG: ClassVar[type[InverseDynamicsConfig]] = LatentActionsConfig
    NET: ClassVar[type[InverseDynamicsNet]] = LatentActionsNet
    net: LatentActionsNet

    @torch.inference_mode()
    def codes(self, frames: Frames) -> Int64[ndarray, "t n"]:
        """The ``n`` codes of each step between ``t + 1`` frames, each one of ``config.codes``.

        Raises:
            ValueError: as :meth:`read`.
        """
        self._check(frames)
        images, device = self._images(frames), self.net.low.device
        found = []
        for steps in torch.arange(len(images[self.cameras[0]]) - 1).split(_BATCH):
            rows = torch.stack([steps, steps + 1], dim=1)
            with torch.autocast(device.type, enabled=False):
                _, codes = self.net.encode([prepared(images[camera][rows].to(device)) for camera in self.cameras])
            found.append(code_index(codes[:, 0], self.net.config.levels))
        return torch.cat(found).cpu().numpy()


def find_inverse_dynamics(name: str | os.PathLike[str]) -> Path:
    """The folder of either kind; raises a ``ValueError`` where there is none."""
    return shipped(LatentActions.KIND).get(str(name)) or find_folder(name, InverseDynamics.KIND)


def load_inverse_dynamics(name: str | os.PathLike[str], *, device: str | torch.device = "cpu") -> InverseDynamics:
    """Either kind of inverse dynamics, learned from actions or latent, by folder, shipped name or hub id.

    Raises:
        ValueError: neither there, or a damaged one; the message names the file.
    """
    folder = find_inverse_dynamics(name)
    kind = LatentActions if kind_of(folder) == LatentActions.KIND else InverseDynamics
    return kind.from_pretrained(folder, device=device)
