"""Noise that is a function of a seed and a step, and of nothing else.

A generator object draws other numbers on a GPU than on a CPU, and one object for each world and step keeps a batch of
worlds waiting for the CPU. Counted noise needs no object: number ``i`` is a hash of (seed, step, i), so that any batch,
in any order, on any device, draws the same bits in the same few operations.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float32, Int64
from torch import Tensor, nn

_GAMMA = 0x9E3779B97F4A7C15
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_LEVELS = 2**16


class CountedNoise(nn.Module):
    """Standard normal numbers of one ``shape`` for each of a batch of worlds.

    The hash is SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014): the
    seed's generator gives each step a generator of its own, of whose words every 16 bits choose one of 65,536 values.
    These are the normal quantiles at the middle of as many equal shares, from -4.3 to 4.3: looking them up is exact
    everywhere, as the logarithms and cosines of other ways from uniform to normal numbers are not.
    """

    values: Float32[Tensor, "65536"]
    counters: Int64[Tensor, "words"]

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.register_buffer("values", normal_quantiles(_LEVELS), persistent=False)
        self.register_buffer("counters", torch.arange(-(-math.prod(shape) // 4)), persistent=False)

    def forward(self, seeds: Int64[Tensor, "b"], steps: Int64[Tensor, "b"]) -> Float32[Tensor, "b ..."]:
        words = splitmix64(splitmix64(seeds, steps)[:, None], self.counters)
        drawn = words.view(torch.int16).int() + _LEVELS // 2
        return self.values[drawn[:, : math.prod(self.shape)]].view(-1, *self.shape)


def splitmix64(seed: Int64[Tensor, "..."], index: Int64[Tensor, "..."]) -> Int64[Tensor, "..."]:
    """Output number ``index`` (from 0) of the SplitMix64 generator of ``seed``: 64 bits, held in an int64."""
    z = seed + (index + 1) * as_int64(_GAMMA)
    z = (z ^ _shifted(z, 30)) * as_int64(_MULTIPLIERS[0])
    z = (z ^ _shifted(z, 27)) * as_int64(_MULTIPLIERS[1])
    return z ^ _shifted(z, 31)


def as_int64(value: int) -> int:
    """The int64 that has the low 64 bits of ``value``."""
    return (value + 2**63) % 2**64 - 2**63


def normal_quantiles(count: int) -> Float32[Tensor, "count"]:
    """The standard normal quantiles at ``(i + 1/2) / count``, of unit variance, to a grid of 2^-16.

    The grid is far finer than the noise needs and far coarser than float64 is, so that machines whose mathematical
    functions round differently agree on every bit.
    """
    values = torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count)
    values = values / values.square().mean().sqrt()
    return ((values * 2**16).round() / 2**16).float()


def _shifted(z: Int64[Tensor, "..."], bits: int) -> Int64[Tensor, "..."]:
    """``z >> bits`` with zeros moving in, as for an unsigned number."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
