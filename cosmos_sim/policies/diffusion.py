"""The diffusion policy: a chunk of actions drawn by denoising, given the observation (Chi et al., arXiv:2303.04137)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from cosmos_sim.policies.encoder import EncoderConfig, ObservationEncoder
from cosmos_sim.policies.unet import GROUPS, ConditionalUnet

PREDICTIONS = ("epsilon", "sample", "v_prediction")


@dataclass(frozen=True)
class DiffusionConfig:
    """Sizes of the diffusion policy: ``horizon`` actions are denoised together, the first ``execute`` carried out."""

    encoder: EncoderConfig
    action_dim: int
    horizon: int = 16
    execute: int = 8
    channels: tuple[int, ...] = (64, 128)
    kernel: int = 5
    prediction: str = "sample"
    """What the network predicts: the noise (``epsilon``), the clean actions (``sample``) or ``v_prediction``."""
    train_steps: int = 100
    """Noise levels of the squared-cosine schedule."""
    inference_steps: int = 10
    """Deterministic DDIM steps per chunk."""
    draws: int = 4
    """Noise levels trained per encoded observation: the encoder is what costs."""

    def __post_init__(self) -> None:
        if self.action_dim < 1:
            raise ValueError(f"action_dim must be positive, got {self.action_dim}")
        if not 1 <= self.execute <= self.horizon:
            raise ValueError(f"execute must lie in [1, horizon={self.horizon}], got {self.execute}")
        if not self.channels or any(c < GROUPS or c % GROUPS for c in self.channels):
            raise ValueError(f"channels must be positive multiples of {GROUPS}, got {self.channels}")
        if self.horizon % 2 ** (len(self.channels) - 1):
            raise ValueError(f"horizon must be a multiple of {2 ** (len(self.channels) - 1)}, got {self.horizon}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {self.kernel}")
        if self.prediction not in PREDICTIONS:
            raise ValueError(f"prediction must be one of {PREDICTIONS}, got {self.prediction!r}")
        if not 1 <= self.inference_steps <= self.train_steps:
            raise ValueError(f"inference_steps must lie in [1, {self.train_steps}], got {self.inference_steps}")
        if self.draws < 1:
            raise ValueError(f"draws must be positive, got {self.draws}")


class DiffusionModel(nn.Module):
    """Observation encoder and conditional U-Net; actions go in and come out in the dataset's own units."""

    action_centre: Tensor
    action_scale: Tensor

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ObservationEncoder(config.encoder)
        self.unet = ConditionalUnet(config.action_dim, config.encoder.dim, config.channels, config.kernel)
        self.register_buffer("action_centre", torch.zeros(config.action_dim))
        self.register_buffer("action_scale", torch.ones(config.action_dim))
        self.schedule = noise_schedule(config)

    def loss(
        self,
        frames: Mapping[str, UInt8[Tensor, "b k k c"]],
        state: Float[Tensor, "b n"],
        actions: Float[Tensor, "b t a"],
        jitter: Float[Tensor, "b 2"] | None,
        generator: torch.Generator,
        text: Float[Tensor, "b l w"] | None = None,
    ) -> Float[Tensor, ""]:
        """Mean squared error of the prediction, at ``config.draws`` random noise levels per observation."""
        config = self.config
        condition = self.encoder(frames, state, jitter, text).repeat(config.draws, 1)
        data = ((actions - self.action_centre) / self.action_scale).repeat(config.draws, 1, 1)
        noise = torch.randn(data.shape, generator=generator, device=generator.device).to(data.device)
        drawn = torch.randint(config.train_steps, (len(data),), generator=generator, device=generator.device)
        step = cast(torch.IntTensor, drawn.to(data.device))
        noisy = self.schedule.add_noise(data, noise, step)
        match config.prediction:
            case "epsilon":
                target = noise
            case "sample":
                target = data
            case _:
                target = self.schedule.get_velocity(data, noise, step)
        return F.mse_loss(self.unet(noisy, step, condition).float(), target)

    @torch.no_grad()
    def predict(
        self,
        frames: Mapping[str, UInt8[Tensor, "b k k c"]],
        state: Float[Tensor, "b n"],
        generators: Sequence[torch.Generator],
        text: Float[Tensor, "b l w"] | None = None,
    ) -> Float[Tensor, "b t a"]:
        """``config.horizon`` actions for each of ``b`` observations; ``generators[i]`` draws the noise of row ``i``."""
        config = self.config
        condition = self.encoder(frames, state, text=text)
        shape = (config.horizon, config.action_dim)
        actions = torch.stack([torch.randn(shape, generator=g, device=g.device) for g in generators]).to(state.device)
        schedule = noise_schedule(config)
        schedule.set_timesteps(config.inference_steps)
        for step in schedule.timesteps.tolist():
            steps = torch.full((len(actions),), step, device=state.device)
            prediction = self.unet(actions, steps, condition).float()
            actions = schedule.step(prediction, step, actions, return_dict=False)[0]
        return actions * self.action_scale + self.action_centre


def noise_schedule(config: DiffusionConfig) -> DDIMScheduler:
    """The squared-cosine schedule (Nichol and Dhariwal, arXiv:2102.09672, eq. 17), sampled from its noisiest level."""
    return DDIMScheduler(
        num_train_timesteps=config.train_steps,
        beta_schedule="squaredcos_cap_v2",
        prediction_type=config.prediction,
        clip_sample=True,
        timestep_spacing="trailing",
    )
