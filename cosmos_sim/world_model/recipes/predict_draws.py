"""What is drawn for each training sample: noise level, given latents, whether its text is left out; all from one seed.

A sample draws from its own seed, so that it does not depend on the others in its batch, nor on the process that it
happens to be on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from cosmos_sim.world_model.flow import TimeDistribution

IMAGES = 5
"""Told to ``SeedSequence`` beside the run's seed and the step: a stream apart from those of ``training.device``."""


@dataclass(frozen=True)
class Draws:
    """What the samples of a batch have drawn."""

    time: Float[Tensor, "b"]
    """Noise level in (0, 1]."""
    known: Int64[Tensor, "b"]
    """Latents that are given."""
    dropped: Bool[Tensor, "b"]
    """Whether the text is left out."""


def is_image_step(step: int, *, seed: int, share: float) -> bool:
    """Whether the batch of ``step`` is of images, which a share of the steps is: a function of step and seed alone."""
    if share in (0, 1):
        return bool(share)
    return bool(np.random.default_rng((seed, step, IMAGES)).random() < share)


def draw(seeds: Sequence[int], *, times: TimeDistribution, known: Sequence[float], text_dropout: float) -> Draws:
    """Draw for the samples of ``seeds``; ``known`` are the probabilities of 0, 1, 2, ... given latents."""
    time, count, dropped = [], [], []
    edges = torch.tensor(known, dtype=torch.float64).cumsum(0)[:-1]
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed + 1)  # not the noise's own, which begins with the same numbers
        time.append(times.sample(1, generator=generator))
        places = torch.rand(2, generator=generator, dtype=torch.float64)
        count.append(torch.searchsorted(edges, places[:1], right=True))
        dropped.append(places[1:] < text_dropout)
    return Draws(torch.cat(time), torch.cat(count), torch.cat(dropped))


def noise_like(data: Float[Tensor, "b c t h w"], seeds: Sequence[int]) -> Float[Tensor, "b c t h w"]:
    """Standard normal noise for each sample, from its own seed, on the device of ``data``.

    Raises:
        ValueError: there is not one seed for each sample.
    """
    if len(seeds) != len(data):
        raise ValueError(f"{len(seeds)} seeds for {len(data)} samples")
    noise = torch.empty_like(data)
    for row, seed in zip(noise, seeds, strict=True):
        row.normal_(generator=torch.Generator(data.device).manual_seed(seed))
    return noise
