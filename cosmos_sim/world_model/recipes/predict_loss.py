"""The loss of Cosmos-Predict2.5: the squared error of the velocity, on frames to be generated alone."""

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from cosmos_sim.world_model.flow import velocity

RARITY_WIDTH = 0.4
"""How far apart latents of unit variance are, a channel, that look different."""


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
    weight: Float[Tensor, "b 1 t h w"] | None = None,
) -> Float[Tensor, "b"]:
    """Each sample's mean squared error of the velocity, in fp32, with none where ``mask`` says that data are known.

    The known positions count in the mean, as in the original, which puts the true velocity there before it compares:
    every generated position weighs the same in every sample, unless there is a ``weight``.
    """
    error = (predicted.float() - velocity(data, noise)).masked_fill(mask, 0).square()
    if weight is not None:
        error = error * weight
    return error.flatten(1).mean(1)


def rarity(data: Float[Tensor, "b c t h w"], power: float) -> Float[Tensor, "b 1 t h w"]:
    """Weights, of mean 1 in every sample, of latents that are unlike the others of their frame.

    With ``s_i`` the mean over a frame's latents ``z_j`` of ``exp(-|z_i - z_j|^2 / (2 c w^2))``, which is near the share
    of the frame that looks like position ``i``, its weight is ``s_i^-power``. A cube of a few latents on a table of
    hundreds counts for more so, which its share of the squared error does not.
    """
    b, c, _, h, _ = data.shape
    latent = rearrange(data.float(), "b c t h w -> (b t) (h w) c")
    near = torch.exp(-torch.cdist(latent, latent).square() / (2 * c * RARITY_WIDTH**2)).mean(-1)
    weight = rearrange(near.pow(-power), "(b t) (h w) -> b 1 t h w", b=b, h=h)
    return weight / weight.mean(dim=(1, 2, 3, 4), keepdim=True)
