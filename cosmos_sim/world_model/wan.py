"""Cosmos-Predict2.5's visual tokenizer: the Wan2.1 VAE as released, windowed in time and, if asked, tiled in space.

Its convolutions see the past alone, and diffusers' layers keep the last two frames of what each has seen. A video is
therefore coded window after window, with the same result as at once, in memory that does not grow with its length.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, WanCausalConv3d
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from cosmos_sim.data.files import new_folder
from cosmos_sim.data.pretrained import from_dict, load_weights
from cosmos_sim.world_model.tiles import Tile, Tiling, blend, cut
from cosmos_sim.world_model.tokenizer import NormalisedVae, to_frames, to_model

WEIGHTS = "diffusion_pytorch_model.safetensors"
HINT = "hf download Wan-AI/Wan2.1-T2V-1.3B-Diffusers --include 'vae/*' --local-dir FOLDER"
_SAME = {
    "base_dim": "width",
    "z_dim": "latent_channels",
    "dim_mult": "multipliers",
    "num_res_blocks": "num_res_blocks",
    "temperal_downsample": "temporal_downsample",
    "latents_mean": "latents_mean",
    "latents_std": "latents_std",
}
"""Name in diffusers' config.json (their spelling) to name here."""


@dataclass(frozen=True)
class WanConfig:
    """Sizes of a :class:`WanTokenizer`. The defaults are the released Wan2.1 VAE, with NVIDIA's latent statistics."""

    width: int = 96
    latent_channels: int = 16
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    temporal_downsample: tuple[bool, ...] = (False, True, True)
    """Whether time is halved, too, where the encoder halves the image."""
    latents_mean: tuple[float, ...] = (
        -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
        0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
    )  # fmt: skip
    latents_std: tuple[float, ...] = (
        2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
        3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
    )  # fmt: skip

    def __post_init__(self) -> None:
        for name in ("latents_mean", "latents_std"):
            if len(getattr(self, name)) != self.latent_channels:
                raise ValueError(f"{name} has {len(getattr(self, name))} entries for {self.latent_channels} channels")
        if len(self.temporal_downsample) != len(self.multipliers) - 1:
            raise ValueError(
                f"temporal_downsample={self.temporal_downsample} does not fit {len(self.multipliers)} levels"
            )

    @property
    def temporal(self) -> int:
        """Frames per latent, after the first."""
        return 2 ** sum(self.temporal_downsample)

    @property
    def spatial(self) -> int:
        """Pixels per latent, in height and in width."""
        return 2 ** (len(self.multipliers) - 1)


class WanTokenizer(NormalisedVae):
    """Videos to normalised latents and back: 1 + 4 n frames of 8 h x 8 w pixels make 1 + n latents of h x w.

    Args:
        config: the sizes.
        tiling: cut images into tiles, for cards that cannot hold a whole one. Not exact: convolutions and attention see
            no further than their tile. The layers' memory of the last two frames is kept for all tiles.
        window: latents coded at once. More are faster on small images, for memory in proportion, with the same result.
    """

    def __init__(self, config: WanConfig, *, tiling: Tiling | None = None, window: int = 1) -> None:
        if window < 1:
            raise ValueError(f"window must be 1 latent or more, not {window}")
        vae = AutoencoderKLWan(
            **{theirs: _plain(getattr(config, ours)) for theirs, ours in _SAME.items()},
            scale_factor_temporal=config.temporal,
            scale_factor_spatial=config.spatial,
        )
        super().__init__(vae, config.latents_mean, config.latents_std, temporal=config.temporal, spatial=config.spatial)
        self.config, self.tiling, self.window = config, tiling, window
        self.eval().requires_grad_(False)

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike[str], *, tiling: Tiling | None = None, window: int = 1
    ) -> "WanTokenizer":
        """Load diffusers' ``vae/`` folder, or the pipeline's folder that holds it; on the CPU, in fp32.

        Raises:
            ValueError: there is no such folder, or it holds another model, or damaged weights.
        """
        path = Path(folder)
        path = path / "vae" if (path / "vae").is_dir() else path
        if not (path / "config.json").is_file():
            raise ValueError(f"{path} holds no config.json of a Wan2.1 VAE; get one with: {HINT}")
        tokenizer = cls(_read_config(path / "config.json"), tiling=tiling, window=window)
        load_weights(tokenizer.vae, path / WEIGHTS)
        return tokenizer

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the folder that :meth:`from_pretrained` and diffusers read, whole or not at all."""
        with new_folder(Path(folder)) as beside:
            self.vae.save_pretrained(beside)

    def encode(self, frames: UInt8[Tensor, "b t h w c"]) -> Float[Tensor, "b z l i j"]:
        """The latent's mean, normalised by channel, in fp32 on the network's device.

        Raises:
            ValueError: frames that are not uint8 RGB, or do not make whole latents.
        """
        self.latent_length(frames.shape[1])
        return torch.cat(list(self.encode_stream([frames])), dim=2)

    def decode(self, latent: Float[Tensor, "b z l i j"]) -> UInt8[Tensor, "b t h w c"]:
        """The frames of normalised latents, on the network's device."""
        return torch.cat(list(self.decode_stream([latent])), dim=1)

    @torch.no_grad()
    def encode_stream(self, pieces: Iterable[UInt8[Tensor, "b t h w c"]]) -> Iterator[Float[Tensor, "b z l i j"]]:
        """Latents of a video that comes in pieces of any length, which may lie on another device.

        The first latent comes alone, the others ``window`` at a time.

        Raises:
            ValueError: as :meth:`encode`; when the video ends between latents, after its whole latents were given.
        """
        memory = _Memory(self.vae.encoder)
        for frames in _regroup(pieces, dim=1, rest=self.temporal * self.window):
            if frames.dtype != torch.uint8 or frames.ndim != 5 or frames.shape[-1] != 3:
                raise ValueError(f"frames must be uint8 b t h w 3, not {frames.dtype} {tuple(frames.shape)}")
            height, width = self.latent_size(*frames.shape[2:4])
            if memory.begun and frames.shape[1] % self.temporal:
                raise ValueError(f"the video ends {frames.shape[1] % self.temporal} frames after a whole latent")
            tiles = cut(height, width, self.tiling, cell=self.spatial)
            pixels = to_model(frames.to(self.vae.device))
            pixels = rearrange(pixels, "(b t) c 1 h w -> b c t h w", b=len(frames)).to(self.dtype)
            memory.begin(len(tiles))

            def mean(index: int, tile: Tile, pixels: Tensor = pixels) -> Tensor:
                moments = self.vae.encoder(tile.of(pixels, self.spatial), **memory.of(index))
                return self.vae.quant_conv(moments).chunk(2, dim=1)[0]

            yield self.normalise(blend(tiles, mean, height=height, width=width, scale=1))

    @torch.no_grad()
    def decode_stream(self, pieces: Iterable[Float[Tensor, "b z l i j"]]) -> Iterator[UInt8[Tensor, "b t h w c"]]:
        """Frames of a latent video that comes in pieces of any length: the first alone, then of ``window`` latents.

        Raises:
            ValueError: latents of another number of channels.
        """
        memory = _Memory(self.vae.decoder)
        for latent in _regroup(pieces, dim=2, rest=self.window):
            if latent.ndim != 5 or latent.shape[1] != self.config.latent_channels:
                raise ValueError(f"latents must be b {self.config.latent_channels} l i j, not {tuple(latent.shape)}")
            height, width = latent.shape[-2:]
            tiles = cut(height, width, self.tiling, cell=self.spatial)
            raw = self.vae.post_quant_conv(self.restore(latent.to(self.vae.device)))
            memory.begin(len(tiles))

            def pixels(index: int, tile: Tile, raw: Tensor = raw) -> Tensor:
                return self.vae.decoder(tile.of(raw, 1), **memory.of(index))

            yield to_frames(blend(tiles, pixels, height=height, width=width, scale=self.spatial))


class _Memory:
    """What the causal layers of an encoder or a decoder have seen last, for every tile."""

    def __init__(self, network: nn.Module) -> None:
        self.layers = sum(isinstance(module, WanCausalConv3d) for module in network.modules())
        self.tiles: list[list[Any]] = []

    @property
    def begun(self) -> bool:
        return bool(self.tiles)

    def begin(self, tiles: int) -> None:
        """Nothing seen yet, unless there is something already."""
        self.tiles = self.tiles or [[None] * self.layers for _ in range(tiles)]

    def of(self, tile: int) -> dict[str, Any]:
        """The layers' arguments for one tile; they write what they see back into it."""
        return {"feat_cache": self.tiles[tile], "feat_idx": [0]}


def _regroup(pieces: Iterable[Tensor], *, dim: int, rest: int) -> Iterator[Tensor]:
    """A stream cut anew along ``dim``: one element, then groups of ``rest``, the last of them perhaps shorter."""
    held: Tensor | None = None
    due = 1
    for piece in pieces:
        held = piece if held is None else torch.cat([held, piece], dim)
        while held.shape[dim] >= due:
            group, held = held.split([due, held.shape[dim] - due], dim)
            yield group
            due = rest
    if held is not None and held.shape[dim]:
        yield held


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _read_config(path: Path) -> WanConfig:
    """The config that diffusers wrote.

    Raises:
        ValueError: it is not JSON, or of another class, or has an option that the Wan2.1 VAE does not have.
    """
    try:
        values = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(values, dict) or values.get("_class_name") != "AutoencoderKLWan":
        found = values.get("_class_name") if isinstance(values, dict) else type(values).__name__
        raise ValueError(f"{path} describes {found!r}, not an AutoencoderKLWan")
    chosen = {ours: values[theirs] for theirs, ours in _SAME.items() if theirs in values}
    config = from_dict(WanConfig, chosen, where=str(path))
    fixed: dict[str, tuple[Any, ...]] = {
        "decoder_base_dim": (None, config.width),
        "attn_scales": ([],),
        "is_residual": (False,),
        "in_channels": (3,),
        "out_channels": (3,),
        "patch_size": (None, 1),
    }
    for name, allowed in fixed.items():
        if name in values and values[name] not in allowed:
            raise ValueError(f"{path} has {name}={values[name]!r}; Predict2.5's tokenizer has {allowed[0]!r}")
    return config
