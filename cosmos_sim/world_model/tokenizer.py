"""The visual tokenizer: the one place where frames (uint8, ``t h w c``) become latents and latents become frames.

It is diffusers' ``AutoencoderKLWan``, the architecture of Cosmos-Predict2.5's tokenizer, at any size. Small worlds
use it frame by frame (:class:`Tokenizer`): they move one action at a time, so that time must not be compressed.
Predict2.5 uses it as released (:mod:`cosmos_sim.world_model.wan`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, WanCausalConv3d, unpatchify
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn


@dataclass(frozen=True)
class TokenizerConfig:
    """Sizes of a frame-wise :class:`Tokenizer`. Images shrink by ``patch * 2 ** (len(multipliers) - 1)``."""

    latent_channels: int = 16
    patch: int = 4
    """Pixels folded into channels before the first convolution (the Wan 2.2 trick): most of the speed on a CPU."""
    encoder_width: int = 32
    decoder_width: int = 48
    multipliers: tuple[int, ...] = (1, 2)
    num_res_blocks: int = 1
    latents_mean: tuple[float, ...] | None = None
    latents_std: tuple[float, ...] | None = None
    """Channel statistics that bring latents to zero mean and unit variance; measured at the end of training."""

    def __post_init__(self) -> None:
        for name in ("latents_mean", "latents_std"):
            value = getattr(self, name)
            if value is not None and len(value) != self.latent_channels:
                raise ValueError(f"{name} has {len(value)} entries for {self.latent_channels} latent channels")

    @property
    def downscale(self) -> int:
        """Pixels per latent, in height and in width."""
        return self.patch * 2 ** (len(self.multipliers) - 1)


class VideoTokenizer(Protocol):
    """What every tokenizer does: uint8 frames to normalised fp32 latents, and back."""

    temporal: int
    """Frames per latent, after the first, which stands for one frame alone; 1 where time is not compressed."""
    spatial: int
    """Pixels per latent, in height and in width."""

    def latent_length(self, frames: int) -> int:
        """Latents of a video of ``frames`` frames; a ValueError where they are not whole."""

    def latent_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the latent of an image; a ValueError where they are not whole."""

    def encode(self, frames: UInt8[Tensor, "b t h w c"]) -> Float[Tensor, "b z l i j"]: ...

    def decode(self, latent: Float[Tensor, "b z l i j"]) -> UInt8[Tensor, "b t h w c"]: ...


class NormalisedVae(nn.Module):
    """A Wan VAE beside the channel statistics that bring its latents to zero mean and unit variance."""

    mean: Float[Tensor, "1 z 1 1 1"]
    std: Float[Tensor, "1 z 1 1 1"]

    def __init__(
        self, vae: AutoencoderKLWan, mean: Sequence[float], std: Sequence[float], *, temporal: int, spatial: int
    ) -> None:
        super().__init__()
        self.vae = vae
        self.temporal, self.spatial = temporal, spatial
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1, 1), persistent=False)

    def latent_length(self, frames: int) -> int:
        """Latents of a video: 1 + (frames - 1) / temporal.

        Raises:
            ValueError: the frames do not make whole latents.
        """
        k = self.temporal
        if frames < 1 or (frames - 1) % k:
            below = 1 + max(frames - 1, 0) // k * k
            raise ValueError(
                f"{frames} frames do not make whole latents of 1 + {k} n frames; {below} or {below + k} do"
            )
        return 1 + (frames - 1) // k

    def latent_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the latent of an image.

        Raises:
            ValueError: the image does not divide into latents.
        """
        f = self.spatial
        if height < 1 or width < 1 or height % f or width % f:
            raise ValueError(f"images of {height}x{width} do not divide into latents of {f}x{f} pixels")
        return height // f, width // f

    def normalise(self, latent: Float[Tensor, "b z l i j"]) -> Float[Tensor, "b z l i j"]:
        """Raw latents to zero mean and unit variance, in fp32."""
        return (latent.float() - self.mean) / self.std

    def restore(self, latent: Float[Tensor, "b z l i j"]) -> Float[Tensor, "b z l i j"]:
        """The inverse of :meth:`normalise`, in the network's type."""
        return (latent * self.std + self.mean).to(self.dtype)

    def cast(self, dtype: torch.dtype) -> Self:
        """Hold the network in ``dtype``, the latents' statistics in fp32."""
        for part in self.vae.children():
            part.to(dtype)
        return self

    @property
    def dtype(self) -> torch.dtype:
        return self.vae.post_quant_conv.weight.dtype


class Tokenizer(NormalisedVae):
    """Frames to normalised latents and back, every frame by itself."""

    def __init__(self, config: TokenizerConfig) -> None:
        z, levels = config.latent_channels, len(config.multipliers)
        folded = 3 * config.patch**2
        vae = AutoencoderKLWan(
            base_dim=config.encoder_width,
            decoder_base_dim=config.decoder_width,
            z_dim=z,
            dim_mult=list(config.multipliers),
            num_res_blocks=config.num_res_blocks,
            attn_scales=[],
            temperal_downsample=[False] * (levels - 1),
            in_channels=folded,
            out_channels=folded,
            patch_size=config.patch if config.patch > 1 else None,
            scale_factor_spatial=config.downscale,
            scale_factor_temporal=1,
        )
        mean, std = config.latents_mean or (0.0,) * z, config.latents_std or (1.0,) * z
        super().__init__(vae, mean, std, temporal=1, spatial=config.downscale)
        self.config = config
        keep_last_tap(self.vae)

    def encode(self, frames: UInt8[Tensor, "b t h w c"]) -> Float[Tensor, "b z t i j"]:
        """The latent's mean, normalised by channel."""
        self.latent_size(*frames.shape[2:4])
        mean, _ = self.posterior(to_model(frames, dtype=self.dtype))
        mean = rearrange(mean, "(b t) z 1 i j -> b z t i j", b=frames.shape[0])
        return self.normalise(mean)

    def decode(self, latent: Float[Tensor, "b z t i j"]) -> UInt8[Tensor, "b t h w c"]:
        pixels = self.pixels(self.restore(latent))
        return to_frames(rearrange(pixels, "(b t) c 1 h w -> b c t h w", b=latent.shape[0]))

    def posterior(self, pixels: Float[Tensor, "n c 1 h w"]) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the raw latent of single images in [-1, 1]."""
        distribution = self.vae.encode(pixels).latent_dist
        return distribution.mean, distribution.logvar

    def pixels(self, latent: Float[Tensor, "b z t i j"]) -> Float[Tensor, "bt c 1 h w"]:
        """Images of raw latents, every frame by itself: ``vae.decode`` without its clamp to [-1, 1].

        The clamp has no gradient: trained through it, whatever is nearly white stays white.
        """
        single = rearrange(latent, "b z t i j -> (b t) z 1 i j")
        folded = self.vae.decoder(self.vae.post_quant_conv(single), first_chunk=True)
        return unpatchify(folded, self.config.patch)


def to_model(frames: UInt8[Tensor, "b t h w c"], *, dtype: torch.dtype = torch.float32) -> Float[Tensor, "bt c 1 h w"]:
    """uint8 frames as single images in [-1, 1]: ``x / 127.5 - 1``."""
    return rearrange(frames, "b t h w c -> (b t) c 1 h w").to(dtype) / 127.5 - 1


def to_frames(video: Float[Tensor, "b c t h w"]) -> UInt8[Tensor, "b t h w c"]:
    """The inverse of :func:`to_model`, rounded and clipped."""
    return rearrange((video.float() + 1) * 127.5, "b c t h w -> b t h w c").round().clamp(0, 255).to(torch.uint8)


def keep_last_tap(vae: AutoencoderKLWan) -> None:
    """Reduce every causal 3-D convolution to its newest tap in time, in place.

    On single frames the other taps only ever see the causal padding's zeros, so outputs stay the same, for a third of
    the weights and of the work.
    """
    for module in vae.modules():
        if isinstance(module, WanCausalConv3d):
            module.weight = nn.Parameter(module.weight.data[:, :, -1:].clone())
            module.kernel_size = (1, *module.kernel_size[1:])
            left, right, top, bottom, _, future = module._padding
            module._padding = (left, right, top, bottom, 0, future)
