"""Training of a small tokenizer on the frames of a dataset."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from cosmos_sim.data.store import EpisodeStore
from cosmos_sim.metrics.video import psnr
from cosmos_sim.training.layout import WHOLE, Part
from cosmos_sim.world_model.tokenizer import Tokenizer, TokenizerConfig, to_frames, to_model
from cosmos_sim.world_model.tokenizer_folder import load_tokenizer, write_tokenizer


@dataclass(frozen=True)
class TokenizerRecipeConfig:
    """Data and losses of a tokenizer's training."""

    data: str
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    batch_size: int = 32
    foreground: float = 5.0
    """Weight of pixels that differ from the camera's median image: what moves is small, and all that matters."""
    absolute: float = 0.1
    """Weight of the absolute error beside the squared one; keeps edges from blurring."""
    kl: float = 1e-4
    """Weight of the Kullback-Leibler divergence of the latent from a standard normal, per latent value."""
    eval_frames: int = 256
    init: str | None = None
    """A trained tokenizer to go on from."""
    decoder_only: bool = False
    """Keep the encoder and the latents' statistics as they are, so that worlds trained on its latents stay valid."""

    def __post_init__(self) -> None:
        if self.decoder_only and self.init is None:
            raise ValueError("decoder_only keeps a trained encoder: init must name it")


class TokenizerRecipe:
    """Reconstruct single frames; satisfies :class:`cosmos_sim.training.Recipe`."""

    name = "tokenizer"

    def __init__(
        self,
        config: TokenizerRecipeConfig,
        store: EpisodeStore,
        *,
        seed: int = 0,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self.config = config
        self.provenance = provenance or {}
        self.batch_size = config.batch_size
        self.store = store
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = Tokenizer(config.tokenizer)
        if config.init is not None:
            trained, trained_config, _ = load_tokenizer(config.init)
            sizes = replace(trained_config, latents_mean=None, latents_std=None)
            if sizes != replace(config.tokenizer, latents_mean=None, latents_std=None):
                raise ValueError(f"{config.init} is a tokenizer of {sizes}, not of {config.tokenizer}")
            self.model.load_state_dict(trained.state_dict())
        if config.decoder_only:
            self.model.vae.encoder.requires_grad_(False)
            self.model.vae.quant_conv.requires_grad_(False)
        for height, width in store.cameras.values():
            self.model.latent_size(height, width)
        self.held_out = store.held_out or store.train
        self.train_rows = store.rows(store.train)
        self.median = {camera: _median(frames, self.train_rows) for camera, frames in store.frames.items()}
        self.figures: dict[str, float] = {}
        self._mean: list[float] = []
        self._std: list[float] = []

    def batch(self, step: int, generator: torch.Generator, part: Part = WHOLE) -> dict[str, Tensor]:
        """Frames of one camera (they may differ in size), cameras taking turns."""
        camera = list(self.store.frames)[step % len(self.store.frames)]
        rows = self.train_rows[torch.randint(len(self.train_rows), (self.config.batch_size,), generator=generator)]
        frames = self.store.frames[camera][np.sort(part.of(rows))]
        return {"frames": torch.from_numpy(frames), "median": self.median[camera]}

    def loss(self, batch: dict[str, Tensor], step: int, generator: torch.Generator) -> dict[str, Tensor]:
        pixels = to_model(batch["frames"][:, None])
        mean, logvar = self.model.posterior(pixels)
        mean, logvar = mean.float(), logvar.float().clamp(-30, 20)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        error = self.model.pixels(mean + (0.5 * logvar).exp() * noise).float() - pixels
        changed = (batch["frames"].float() - batch["median"]).abs().amax(-1) > 20
        weight = 1 + (self.config.foreground - 1) * changed[:, None, None].float()
        weight = weight / weight.mean()
        squared = (weight * error.square()).mean()
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        loss = squared + self.config.absolute * (weight * error.abs()).mean() + self.config.kl * kl
        return {"loss": loss, "squared_error": squared, "kl": kl}

    def evaluate(self, generator: torch.Generator, part: Part = WHOLE) -> dict[str, float]:
        """PSNR of held-out frames by camera; also measures the latent's channel statistics."""
        rows = self.store.rows(self.held_out)
        rows = rows[np.linspace(0, len(rows) - 1, min(self.config.eval_frames, len(rows))).astype(int)]
        figures, latents = {}, []
        for camera, frames in self.store.frames.items():
            real = frames[rows]
            shown, raw = self._reconstruct(real, generator.device)
            latents.append(raw.permute(0, 2, 3, 4, 1).flatten(0, 3).double())
            changed = np.abs(real.astype(np.float32) - self.median[camera].numpy()).max(-1) > 20
            figures[f"psnr/{camera}"] = psnr(truth=real, estimate=shown)
            if changed.any():
                figures[f"psnr_foreground/{camera}"] = psnr(truth=real[changed][None], estimate=shown[changed][None])
        stacked = torch.cat(latents)
        self._mean, self._std = stacked.mean(0).tolist(), stacked.std(0).clamp_min(1e-6).tolist()
        self.figures = figures
        return figures

    def sample(self, generator: torch.Generator) -> dict[str, UInt8[ndarray, "t h w c"]]:
        """One held-out episode, real beside reconstructed."""
        real = self.store.episode(self.held_out[0]).frames
        return {
            camera: np.concatenate([frames, self._reconstruct(frames, generator.device)[0]], axis=2)
            for camera, frames in real.items()
        }

    def _reconstruct(
        self, frames: UInt8[ndarray, "n h w c"], device: torch.device
    ) -> tuple[UInt8[ndarray, "n h w c"], Float[Tensor, "n z 1 i j"]]:
        """The frames decoded from their mean latents, and those latents, raw."""
        shown, latents = [], []
        for part in torch.from_numpy(np.array(frames)).split(32):
            raw = self.model.posterior(to_model(part[:, None].to(device)))[0].float()
            shown.append(to_frames(self.model.pixels(raw))[:, 0].cpu())
            latents.append(raw.cpu())
        return torch.cat(shown).numpy(), torch.cat(latents)

    def export(self, folder: Path) -> None:
        if not self._mean:  # a run that was stopped between its last evaluation and here
            with torch.no_grad():
                self.evaluate(torch.Generator(next(self.model.parameters()).device))
        config = replace(self.config.tokenizer, latents_mean=tuple(self._mean), latents_std=tuple(self._std))
        if self.config.decoder_only:
            config = load_tokenizer(self.config.init or "")[1]
        figures = {name: round(value, 2) for name, value in self.figures.items()}
        write_tokenizer(self.model, config, {**self.provenance, "figures": figures}, folder)


def _median(frames: UInt8[ndarray, "n h w c"], rows: ndarray, count: int = 200) -> Float[Tensor, "h w c"]:
    """The camera's median image over ``count`` frames spread over ``rows``."""
    picked = rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]
    return torch.from_numpy(np.median(frames[picked], axis=0).astype(np.float32))
