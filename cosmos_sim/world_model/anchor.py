"""A video that sampling is held to: begun from it with noise, or kept in parts while the others are made."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Anchor:
    """How near to ``latent`` sampling stays; Cosmos-Transfer2.5's guided generation and ``sigma_max``.

    Raises:
        ValueError: neither is asked for, a value out of range, or shapes that do not fit each other.
    """

    latent: Float[Tensor, "b c t h w"]
    """The video, encoded."""
    sigma_max: float | None = None
    """Noise level, in (0, 1], to begin at, from the video with so much noise; schedules are entered there."""
    keep: Float[Tensor, "b 1 t h w"] | None = None
    """1 where the video is kept, 0 where another is made."""
    keep_steps: int = 25
    """The last step, from 0, that keeps them."""

    def __post_init__(self) -> None:
        if self.sigma_max is None and self.keep is None:
            raise ValueError("the video would be ignored: neither sigma_max nor keep is given")
        check_sigma_max(self.sigma_max)
        if self.keep_steps < 0:
            raise ValueError(f"keep_steps must be 0 or more, not {self.keep_steps}")
        b, _, *size = self.latent.shape
        if self.keep is not None and self.keep.shape != (b, 1, *size):
            raise ValueError(f"keep has shape {tuple(self.keep.shape)}, expected {(b, 1, *size)}")
        if not self.latent.isfinite().all():
            raise ValueError(f"the anchor's latents of shape {tuple(self.latent.shape)} must be finite")

    def times(self, times: Sequence[float]) -> list[float]:
        """The part of a falling schedule that is left from ``sigma_max`` on, which comes first."""
        if self.sigma_max is None or self.sigma_max >= times[0]:
            return [*times]
        return [self.sigma_max, *(time for time in times if time < self.sigma_max)]

    def seen(self, x: Tensor, noise: Tensor, *, time: float, step: int) -> Float[Tensor, "b c t h w"]:
        """What the network is shown of ``x``: ``keep ((1 - time) video + time noise) + (1 - keep) x`` at first.

        As in Cosmos-Transfer2.5's inference, only the network's input is changed: ``x`` itself goes on by what the
        network makes of it.
        """
        if self.keep is None or step > self.keep_steps:
            return x
        return torch.lerp(x, torch.lerp(self.latent.to(x), noise, time), self.keep.to(x))


def check_sigma_max(value: float | None) -> None:
    """Raises a ValueError for anything but a noise level in (0, 1], or none."""
    if value is not None and not 0 < value <= 1:
        hint = f"; a ratio of noise to data of {value:g} is {value / (1 + value):.3g}" if value > 1 else ""
        raise ValueError(f"sigma_max is a noise level in (0, 1], not {value}{hint}")
