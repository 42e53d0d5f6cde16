"""A dataset's frames as latents, encoded once and kept on disk."""

from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float16
from numpy import ndarray
from tqdm import tqdm

from cosmos_sim.data.files import new_file
from cosmos_sim.data.store import EpisodeStore
from cosmos_sim.training.device import has_fast_bf16, select_device
from cosmos_sim.world_model.tokenizer import Tokenizer
from cosmos_sim.world_model.wan import WanTokenizer


@torch.inference_mode()
def encode_store(
    store: EpisodeStore, tokenizer: Tokenizer, *, cache: Path, device: str = "auto"
) -> Float16[ndarray, "steps c h w"]:
    """Latents of all steps, the cameras side by side, mapped from a file in ``cache`` that is made if it is not there.

    The file's name is a hash of the encoder's weights and of the decoded frames' files.

    Raises:
        ValueError: cameras of unequal heights, or sizes that do not divide into latents.
    """
    sizes = [tokenizer.latent_size(*size) for size in store.cameras.values()]
    if len({h for h, _ in sizes}) != 1:
        raise ValueError(f"cameras lie side by side in the latent and need one height, not {dict(store.cameras)}")
    target = select_device(device)
    before = next(tokenizer.parameters()).device
    path = Path(cache) / f"latents-{_fingerprint(store, tokenizer)}.npy"
    if not path.is_file():
        tokenizer.to(target).eval()
        shape = (store.info.steps, tokenizer.config.latent_channels, sizes[0][0], sum(w for _, w in sizes))
        try:
            with new_file(path) as partial, partial.open("wb") as file:
                header = {"descr": "<f2", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for episode in tqdm(range(len(store)), "encoding", unit="episode"):
                    parts = []
                    for frames in store.episode(episode).frames.values():
                        pixels = torch.from_numpy(np.array(frames))[None].to(target)
                        with torch.autocast(target.type, torch.bfloat16, enabled=has_fast_bf16(target)):
                            parts.append(torch.cat([tokenizer.encode(p) for p in pixels.split(64, dim=1)], dim=2))
                    latent = torch.cat(parts, dim=-1)[0].transpose(0, 1).half().cpu().contiguous()
                    file.write(latent.numpy().data)
        finally:
            tokenizer.to(before)
    return np.load(path, mmap_mode="r")


def add_encoder(digest: blake2b, tokenizer: Tokenizer | WanTokenizer) -> None:
    """Add to a hash all that the latents of an image depend on: the encoder's weights and the tokenizer's config."""
    encoder = {**tokenizer.vae.encoder.state_dict(prefix="encoder."), **tokenizer.vae.quant_conv.state_dict()}
    for name, tensor in sorted(encoder.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().data)
    digest.update(repr(tokenizer.config).encode())


def _fingerprint(store: EpisodeStore, tokenizer: Tokenizer) -> str:
    digest = blake2b(digest_size=12)
    add_encoder(digest, tokenizer)
    for frames in store.frames.values():
        path = Path(getattr(frames, "filename", ""))  # the store names its folder by what the dataset holds
        digest.update(f"{path.parent.name}/{path.name}".encode())
    return digest.hexdigest()
