"""A Predict2.5 in miniature: every part real, random weights, seconds on a CPU."""

import zlib
from collections.abc import Sequence

import numpy as np
import torch

from cosmos_sim.world_model.denoise import SamplingConfig
from cosmos_sim.world_model.dit import DiT, DiTConfig
from cosmos_sim.world_model.pipeline import PipelineConfig
from cosmos_sim.world_model.predict import Predict
from cosmos_sim.world_model.sampler import seeded_noise
from cosmos_sim.world_model.wan import WanConfig, WanTokenizer

SIZE = (32, 48)
DIT = DiTConfig(
    latent_channels=4,
    model_channels=48,
    num_blocks=2,
    num_heads=2,
    adaln_lora_dim=8,
    context_dim=20,
    context_in_dim=36,
    rope_ratio=(1.0, 2.0, 2.0),
)
WAN = WanConfig(
    width=4,
    latent_channels=4,
    multipliers=(1, 1, 2, 2),
    num_res_blocks=1,
    latents_mean=(0.1, -0.2, 0.3, -0.4),
    latents_std=(1.5, 0.5, 2.0, 0.8),
)


class WordText:
    """A :class:`~cosmos_sim.world_model.pipeline.Text`: each word is a random vector of its own."""

    cache = None

    def encode(self, prompts: Sequence[str | None]) -> torch.Tensor:
        rows = torch.zeros(len(prompts), 8, 36)
        for row, prompt in zip(rows, prompts, strict=True):
            for i, word in enumerate((prompt or "").split()[:8]):
                row[i] = seeded_noise((36,), zlib.crc32(word.encode()))
        return rows

    def prepare(self, prompts: Sequence[str | None]) -> int:
        return 0


def lively[T: torch.nn.Module](module: T, *, scale: float = 0.1, seed: int = 0) -> T:
    """Every weight drawn anew, so that nothing is hidden by a zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            drawn = scale * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(drawn + (1.0 if parameter.ndim == 1 else 0.0))
    return module.eval().requires_grad_(False)


def tiny_dit(config: DiTConfig = DIT) -> DiT:
    return lively(DiT(config))


def tiny_wan() -> WanTokenizer:
    torch.manual_seed(0)
    return WanTokenizer(WAN)


def tiny_predict(
    sampling: SamplingConfig | None = None, *, low_vram: bool = False, kind: type[Predict] = Predict
) -> Predict:
    config = PipelineConfig(DIT, sampling or SamplingConfig(steps=3), chunk=13, size=SIZE)
    device = torch.device("cpu")
    return kind(config, dit=tiny_dit, tokenizer=tiny_wan, text=WordText(), device=device, low_vram=low_vram)


def images(t: int, size: tuple[int, int] = SIZE, *, seed: int = 0) -> np.ndarray:
    """Smooth random frames, ``t h w 3``."""
    coarse = seeded_noise((t, 3, 4, 6), seed)
    fine = torch.nn.functional.interpolate(coarse, size, mode="bilinear")
    return (127.5 + 60 * fine).clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
