"""Behaviour cloning by regression: the diffusion policy's observation encoder, and a chunk of actions by an MLP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from cosmos_sim.policies.encoder import EncoderConfig, ObservationEncoder


@dataclass(frozen=True)
class RegressionConfig:
    """Sizes of the regression policy: ``horizon`` actions are predicted and the first ``execute`` carried out."""

    encoder: EncoderConfig
    action_dim: int
    horizon: int = 8
    execute: int = 8
    hidden: int = 256

    def __post_init__(self) -> None:
        if self.action_dim < 1:
            raise ValueError(f"action_dim must be positive, got {self.action_dim}")
        if not 1 <= self.execute <= self.horizon:
            raise ValueError(f"execute must lie in [1, horizon={self.horizon}], got {self.execute}")
        if self.hidden < 1:
            raise ValueError(f"hidden must be positive, got {self.hidden}")


class RegressionModel(nn.Module):
    """Encoder and MLP; deterministic, so that it blurs between the ways in which a task can be done."""

    action_centre: Tensor
    action_scale: Tensor

    def __init__(self, config: RegressionConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ObservationEncoder(config.encoder)
        self.head = nn.Sequential(
            nn.Linear(config.encoder.dim, config.hidden),
            nn.SiLU(),
            nn.Linear(config.hidden, config.hidden),
            nn.SiLU(),
            nn.Linear(config.hidden, config.horizon * config.action_dim),
        )
        self.register_buffer("action_centre", torch.zeros(config.action_dim))
        self.register_buffer("action_scale", torch.ones(config.action_dim))

    def loss(
        self,
        frames: Mapping[str, UInt8[Tensor, "b k k c"]],
        state: Float[Tensor, "b n"],
        actions: Float[Tensor, "b t a"],
        jitter: Float[Tensor, "b 2"] | None,
        generator: torch.Generator,
        text: Float[Tensor, "b l w"] | None = None,
    ) -> Float[Tensor, ""]:
        """Mean squared error in units of the data's half range; nothing is drawn."""
        target = (actions - self.action_centre) / self.action_scale
        return F.mse_loss(self._normalised(frames, state, jitter, text), target)

    @torch.no_grad()
    def predict(
        self,
        frames: Mapping[str, UInt8[Tensor, "b k k c"]],
        state: Float[Tensor, "b n"],
        generators: Sequence[torch.Generator],
        text: Float[Tensor, "b l w"] | None = None,
    ) -> Float[Tensor, "b t a"]:
        """``config.horizon`` actions for each observation, within the data's range; ``generators`` are left alone."""
        return self._normalised(frames, state, None, text).clamp(-1, 1) * self.action_scale + self.action_centre

    def _normalised(
        self, frames: Mapping[str, Tensor], state: Tensor, jitter: Tensor | None, text: Tensor | None
    ) -> Float[Tensor, "b t a"]:
        out = self.head(self.encoder(frames, state, jitter, text)).float()
        return out.unflatten(-1, (self.config.horizon, self.config.action_dim))
