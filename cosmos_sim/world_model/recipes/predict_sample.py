"""A look at what a network in training generates."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from cosmos_sim.world_model.denoise import SamplingConfig, denoise
from cosmos_sim.world_model.recipes.predict_conditions import Conditions

Network = Callable[..., Tensor]
"""A network, or what stands around one, that is called as :class:`~cosmos_sim.world_model.dit.DiT` is."""


def continued(
    network: Network,
    known: Float[Tensor, "b c k h w"],
    noise: Float[Tensor, "b c t h w"],
    sampling: SamplingConfig,
    conditions: Conditions,
) -> Float[Tensor, "b c t h w"]:
    """The latents that ``noise`` leads to after those that are ``known`` (none, maybe), under ``conditions``."""
    return denoise(
        _Called(network),
        noise,
        sampling,
        known=known if known.shape[2] else None,
        context=conditions.context,
        action=conditions.action,
    )


@dataclass(frozen=True)
class _Called:
    """A network that is only ever called, as in training: sharded weights are gathered for calls, not for methods."""

    network: Network

    def __call__(self, latent: Tensor, timestep: Tensor, condition_mask: Tensor, **given: Any) -> Tensor:
        given.pop("first_block_cache")
        return self.network(latent, timestep, condition_mask, **given)

    def encode_context(self, context: Tensor) -> Any:
        return context
