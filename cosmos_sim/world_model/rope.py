"""Where a token is in time, height and width: the 3-D rotary embedding of Cosmos-Predict2.5."""

from functools import lru_cache

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor


def resolution_ratio(height: int, width: int) -> tuple[float, float, float]:
    """Extrapolation ratios ``(t, h, w)`` for a video of that many pixels, of any aspect.

    The original gives height and width 3.0 in its 720p configurations (704x1280, 720x1280) and 2.0 in those of 480p
    (432x768, 480x832), time always 1.0, and says nothing of 256p. Ours: the shorter side decides, 1.0 below 432, and
    above 720 the ratio grows with it. A ratio belongs to the weights trained with it: a released 720p checkpoint keeps
    its 3.0 at other sizes too (the action-conditioned one runs at 256x320 so).

    Raises:
        ValueError: a side is below 1.
    """
    if height < 1 or width < 1:
        raise ValueError(f"a video of {height}x{width} pixels has no resolution")
    shorter = min(height, width)
    if shorter > 720:
        ratio = 3.0 * shorter / 720
    elif shorter >= 704:
        ratio = 3.0
    else:
        ratio = 2.0 if shorter >= 432 else 1.0
    return (1.0, ratio, ratio)


def axis_widths(head_dim: int) -> tuple[int, int, int]:
    """Channels of a head that tell time, height and width: a sixth of the frequencies each for the last two."""
    spatial = head_dim // 6 * 2
    return (head_dim - 2 * spatial, spatial, spatial)


def rotary_table(
    size: tuple[int, int, int], head_dim: int, ratio: tuple[float, float, float], *, device: torch.device
) -> tuple[Float[Tensor, "n e"], Float[Tensor, "n e"]]:
    """Cosines and sines of the 3-D rotary embedding, for the ``t h w`` tokens of a video, in fp32.

    An axis of ``d`` channels has ``theta = 10000 * ratio ** (d / (d - 2))`` (NTK-aware extrapolation). Tables are kept
    and given out again, but not to a graph that is being compiled or recorded: it makes its own.
    """
    if torch.compiler.is_compiling() or (device.type == "cuda" and torch.cuda.is_current_stream_capturing()):
        return _rotary_table(size, head_dim, ratio, device)
    return _kept_rotary_table(size, head_dim, ratio, device)


@lru_cache(maxsize=16)
def _kept_rotary_table(
    size: tuple[int, int, int], head_dim: int, ratio: tuple[float, float, float], device: torch.device
) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):  # else training could not use a table that an evaluation has made
        return _rotary_table(size, head_dim, ratio, device)


def _rotary_table(
    size: tuple[int, int, int], head_dim: int, ratio: tuple[float, float, float], device: torch.device
) -> tuple[Tensor, Tensor]:
    angles = []
    for axis, (length, dim) in enumerate(zip(size, axis_widths(head_dim), strict=True)):
        theta = 1e4 * ratio[axis] ** (dim / (dim - 2))
        frequency = theta ** (-torch.arange(0, dim, 2, device=device, dtype=torch.float32) / dim)
        angle = torch.arange(length, device=device, dtype=torch.float32)[:, None] * frequency
        shape = [1, 1, 1, dim // 2]
        shape[axis] = length
        angles.append(angle.view(shape).expand(*size, dim // 2))
    angle = rearrange(torch.cat(angles, dim=-1), "t h w e -> (t h w) e").repeat(1, 2)
    return angle.cos(), angle.sin()


def rotate(x: Float[Tensor, "b heads n e"], cos: Tensor, sin: Tensor) -> Float[Tensor, "b heads n e"]:
    """Rotate the pairs (i, i + e/2) of every head, in fp32."""
    x = x.float()
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-b, a], dim=-1) * sin
