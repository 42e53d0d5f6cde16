"""Into the transformer's width and out of it: patches of latents, and the noise level."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn


def patchify(x: Float[Tensor, "b c t h w"], patch: tuple[int, int, int]) -> Float[Tensor, "b t h w p"]:
    r, m, n = patch
    return rearrange(x, "b c (t r) (h m) (w n) -> b t h w (c r m n)", r=r, m=m, n=n)


def unpatchify(x: Float[Tensor, "b t h w p"], patch: tuple[int, int, int]) -> Float[Tensor, "b c t h w"]:
    """Back to a video; the output features are ordered (m n r c), unlike the input's (c r m n)."""
    r, m, n = patch
    return rearrange(x, "b t h w (m n r c) -> b c (t r) (h m) (w n)", r=r, m=m, n=n)


class PatchEmbed(nn.Module):
    def __init__(self, in_features: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.Identity(), nn.Linear(in_features, width, bias=False))

    @property
    def dtype(self) -> torch.dtype:
        return self.proj[1].get_parameter("weight").dtype

    def forward(self, patches: Tensor) -> Tensor:
        return self.proj(patches.to(self.dtype))


class Sinusoid(nn.Module):
    """[cos, sin] of the timestep times ``exp(-ln(1e4) i / (d / 2))``."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, t: Float[Tensor, "b t"]) -> Float[Tensor, "b t d"]:
        half = self.dim // 2
        frequency = torch.exp(-math.log(1e4) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
        angle = t[..., None] * frequency
        return torch.cat([angle.cos(), angle.sin()], dim=-1)


class TimestepEmbedding(nn.Module):
    """Passes the sinusoid on, and the modulation that all blocks share: Linear2(SiLU(Linear1(sinusoid)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width, width, bias=False)
        self.linear_2 = nn.Linear(width, 3 * width, bias=False)

    def forward(self, sinusoid: Float[Tensor, "b t d"]) -> tuple[Float[Tensor, "b t d"], Float[Tensor, "b t d3"]]:
        return sinusoid, self.linear_2(F.silu(self.linear_1(sinusoid)))
