"""Clips as latents: found in the cache, or encoded by the tokenizer and put there."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from cosmos_sim.data.latent_cache import LatentCache
from cosmos_sim.training.device import has_fast_bf16
from cosmos_sim.world_model.recipes.latents import add_encoder
from cosmos_sim.world_model.tokenizer import Tokenizer
from cosmos_sim.world_model.wan import WanTokenizer


@dataclass
class Found:
    """What is known of a clip: its latents, or else its frames, until they are encoded."""

    key: str
    latent: Float[Tensor, "c t h w"] | None
    frames: UInt8[Tensor, "t h w 3"] | None = None


class Latents:
    """What a frozen tokenizer makes of clips, on disk under each clip's key and the tokenizer's fingerprint.

    Latents are kept in half precision (they have unit variance), and are rounded to it before they are first used, so
    that a clip is the same whether it was found or encoded.

    Args:
        tokenizer: it is moved to where latents are wanted.
        folder: of the cache; several runs and processes may share it.
    """

    def __init__(self, tokenizer: WanTokenizer | Tokenizer, folder: Path) -> None:
        self.tokenizer = tokenizer.eval().requires_grad_(False)
        self.cache = LatentCache(folder)
        self.encoded = 0
        """Clips encoded so far."""
        digest = blake2b(digest_size=8)
        add_encoder(digest, tokenizer)
        self.fingerprint = digest.hexdigest()

    def find(self, key: str) -> Float[Tensor, "c t h w"] | None:
        """The latents of the clip of that key, on the CPU in half precision; ``None`` if they are not there."""
        found = self.cache.get(self._key(key))
        return None if found is None else torch.from_numpy(found)

    def has(self, key: str) -> bool:
        """Whether there are latents under that key, sound ones or not."""
        return self.cache.path(self._key(key)).is_file()

    @torch.no_grad()
    def encode(self, frames: UInt8[Tensor, "t h w 3"], key: str, device: torch.device) -> Float[Tensor, "c t h w"]:
        """The latents of a clip, on ``device`` in half precision; the cache has them from then on.

        Raises:
            FloatingPointError: the latents are not finite in half precision.
        """
        self.tokenizer.to(device)
        with _fast(device):
            latent = self.tokenizer.encode(frames[None].to(device))[0].half()
        if not latent.isfinite().all():
            raise FloatingPointError(f"the tokenizer's latents of a clip (key {key}) hold NaN or infinity")
        self.cache.put(self._key(key), latent.cpu().numpy())
        self.encoded += 1
        return latent

    def of(self, clips: Sequence[Found], device: torch.device) -> Float[Tensor, "b c t h w"]:
        """A batch in fp32 on ``device``: of each clip the latents that were found, or else its frames encoded."""
        rows = []
        for clip in clips:
            if clip.latent is None:
                assert clip.frames is not None, "a clip has neither latents nor frames"
                clip.latent = self.encode(clip.frames, clip.key, device)
            rows.append(clip.latent.to(device).float())  # autocast on a CPU stacks no half precision
        return torch.stack(rows)

    def size(self, clip: Found) -> tuple[int, int, int]:
        """Frames, height and width of the latents of a clip, which may not have been made yet."""
        if clip.latent is not None:
            t, h, w = clip.latent.shape[1:]
            return t, h, w
        assert clip.frames is not None, "a clip has neither latents nor frames"
        codec = self.tokenizer
        return codec.latent_length(len(clip.frames)), *codec.latent_size(*clip.frames.shape[1:3])

    @torch.no_grad()
    def frames(self, latent: Float[Tensor, "1 c t h w"]) -> UInt8[ndarray, "t h w 3"]:
        """A latent video decoded."""
        self.tokenizer.to(latent.device)
        with _fast(latent.device):
            shown: np.ndarray = self.tokenizer.decode(latent)[0].cpu().numpy()
        return shown

    def _key(self, key: str) -> str:
        return f"{self.fingerprint}-{key}"  # the end says the folder: that of the key, or all would be in one


def _fast(device: torch.device) -> torch.autocast:
    """Convolutions in bf16 where that is fast, whatever the network is trained in; weights stay as they are."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bf16(device))
