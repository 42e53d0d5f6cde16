"""Flow matching as Cosmos-Predict2.5 uses it: data at t = 0, noise at t = 1, velocity = noise - data.

Formulas: Cosmos-Predict2.5 (arXiv 2511.00062), section 3.1 and 4.1.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


def interpolate(data: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """The point at time ``t`` of the straight path from data to noise: ``(1 - t) data + t noise``."""
    return (1 - t) * data + t * noise


def velocity(data: Tensor, noise: Tensor) -> Tensor:
    """d/dt of :func:`interpolate`: ``noise - data``."""
    return noise - data


def velocity_to(data: Tensor, sample: Tensor, t: Tensor | float) -> Tensor:
    """The velocity at ``sample``, time ``t > 0``, of the straight path to ``data``: ``(sample - data) / t``."""
    return (sample - data) / t


def shift_time(u: Tensor, shift: float) -> Tensor:
    """``s u / (1 + (s - 1) u)``: moves times towards the noise, more for larger videos (s = 1 at 256p, 5 at 720p)."""
    return shift * u / (1 + (shift - 1) * u)


def unshift_time(t: Tensor, shift: float) -> Tensor:
    """The inverse of :func:`shift_time`."""
    return t / (shift - (shift - 1) * t)


@dataclass(frozen=True)
class TimeDistribution:
    """How training draws the time t: a shifted logit-normal, a share of it from the noisiest end.

    A share ``high_noise`` of the draws is uniform, before the shift, over the times that the shift maps to the top
    ``high_noise_range``; a share ``pure_noise`` sits at t = 1 exactly, which teaches few-step sampling its first step.
    """

    shift: float = 1.0
    high_noise: float = 0.05
    high_noise_range: float = 0.02
    pure_noise: float = 0.0

    def __post_init__(self) -> None:
        if self.shift <= 0:
            raise ValueError(f"shift must be positive, not {self.shift}")
        if self.high_noise < 0 or self.pure_noise < 0 or self.high_noise + self.pure_noise > 1:
            raise ValueError(f"shares high_noise={self.high_noise}, pure_noise={self.pure_noise} must lie in [0, 1]")
        if not 0 < self.high_noise_range <= 1:
            raise ValueError(f"high_noise_range must lie in (0, 1], not {self.high_noise_range}")

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n"]:
        """Draw ``n`` times in (0, 1], on the generator's device."""
        device = generator.device
        time = shift_time(torch.sigmoid(torch.randn(n, generator=generator, device=device)), self.shift)
        lowest = unshift_time(torch.tensor(1 - self.high_noise_range, device=device), self.shift)
        uniform = torch.rand(n, generator=generator, device=device)
        high = shift_time(lowest + (1 - lowest) * uniform, self.shift)
        which = torch.rand(n, generator=generator, device=device)
        time = torch.where(which < self.high_noise, high, time)
        return torch.where(which >= 1 - self.pure_noise, torch.ones_like(time), time)
