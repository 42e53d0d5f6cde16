"""The loss of Cosmos-Predict2.5: the squared error of the velocity, on frames to be generated alone."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from cosmos_sim.world_model.flow import velocity


def known_mask(known: Int64[Tensor, "b"], data: Float[Tensor, "b c t h w"]) -> Bool[Tensor, "b 1 t h w"]:
    """True on the first ``known`` latents of each sample."""
    b, _, t, h, w = data.shape
    frames = torch.arange(t, device=data.device)[None] < known[:, None]
    return frames[:, None, :, None, None].expand(b, 1, t, h, w)


def velocity_errors(
    predicted: Float[Tensor, "b c t h w"],
    data: Float[Tensor, "b c t h w"],
    noise: Float[Tensor, "b c t h w"],
    mask: Bool[Tensor, "b 1 t h w"],
) -> Float[Tensor, "b"]:
    """Each sample's mean squared error of the velocity, in fp32, with none where ``mask`` says that data are known.

    The known positions count in the mean, as in the original, which puts the true velocity there before it compares:
    every generated position weighs the same in every sample.
    """
    error = (predicted.float() - velocity(data, noise)).masked_fill(mask, 0)
    return error.square().flatten(1).mean(1)
