"""A one-dimensional U-Net over a chunk of actions, conditioned by FiLM (Chi et al., arXiv:2303.04137, figure 2)."""

import math

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

GROUPS = 8


def timestep_embedding(step: Int[Tensor, " b"], dim: int) -> Float[Tensor, "b d"]:
    """Sines and cosines of ``step`` at ``dim / 2`` frequencies from 1 to 1/10000 (Vaswani et al., arXiv:1706.03762)."""
    exponents = torch.arange(dim // 2, device=step.device, dtype=torch.float32) / (dim // 2 - 1)
    angles = step.float()[:, None] * torch.exp(-math.log(10_000) * exponents)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class FilmBlock(nn.Module):
    """Two convolutions over time; the condition scales and shifts each channel between them (Perez et al., 2017)."""

    def __init__(self, channels_in: int, channels: int, condition: int, kernel: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(channels_in, channels, kernel, padding=kernel // 2)
        self.norm1 = nn.GroupNorm(GROUPS, channels)
        self.film = nn.Linear(condition, 2 * channels)
        self.conv2 = nn.Conv1d(channels, channels, kernel, padding=kernel // 2)
        self.norm2 = nn.GroupNorm(GROUPS, channels)
        self.skip = nn.Conv1d(channels_in, channels, 1) if channels_in != channels else nn.Identity()

    def forward(self, x: Float[Tensor, "b c t"], condition: Float[Tensor, "b d"]) -> Float[Tensor, "b c2 t"]:
        scale, shift = self.film(condition)[:, :, None].chunk(2, dim=1)
        h = F.silu(self.norm1(self.conv1(x)))
        h = (1 + scale) * h + shift
        h = F.silu(self.norm2(self.conv2(h)))
        return h + self.skip(x)


class ConditionalUnet(nn.Module):
    """Predicts for noisy actions ``b t a``; ``t`` must be divisible by ``2 ** (len(channels) - 1)``."""

    def __init__(self, action_dim: int, condition: int, channels: tuple[int, ...], kernel: int) -> None:
        super().__init__()
        self.step_dim = channels[0]
        self.step = nn.Sequential(
            nn.Linear(self.step_dim, 2 * self.step_dim), nn.SiLU(), nn.Linear(2 * self.step_dim, self.step_dim)
        )
        condition += self.step_dim
        stages = list(zip((action_dim, *channels[:-1]), channels, strict=True))
        self.down = nn.ModuleList(FilmBlock(a, b, condition, kernel) for a, b in stages)
        self.shrink = nn.ModuleList(nn.Conv1d(c, c, 3, stride=2, padding=1) for c in channels[:-1])
        self.middle = FilmBlock(channels[-1], channels[-1], condition, kernel)
        self.grow = nn.ModuleList(
            nn.ConvTranspose1d(b, a, 4, stride=2, padding=1)
            for a, b in zip(channels[-2::-1], channels[:0:-1], strict=True)
        )
        self.up = nn.ModuleList(FilmBlock(2 * c, c, condition, kernel) for c in channels[-2::-1])
        self.out = nn.Conv1d(channels[0], action_dim, 1)

    def forward(
        self, actions: Float[Tensor, "b t a"], step: Int[Tensor, " b"], condition: Float[Tensor, "b d"]
    ) -> Float[Tensor, "b t a"]:
        condition = torch.cat([self.step(timestep_embedding(step, self.step_dim)), condition], dim=-1)
        x = rearrange(actions, "b t a -> b a t")
        skips: list[Tensor] = []
        for block, shrink in zip(self.down[:-1], self.shrink, strict=True):
            x = block(x, condition)
            skips.append(x)
            x = shrink(x)
        x = self.middle(self.down[-1](x, condition), condition)
        for grow, block in zip(self.grow, self.up, strict=True):
            x = block(torch.cat([grow(x), skips.pop()], dim=1), condition)
        return rearrange(self.out(x), "b a t -> b t a")
