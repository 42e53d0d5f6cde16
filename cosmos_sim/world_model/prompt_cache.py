"""Embeddings of prompts on disk: one safetensors file each, named by a hash of all that it depends on."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from cosmos_sim.data.files import new_file

_NAME = "embedding"


class PromptCache:
    """A folder of embeddings.

    What is asked for is an identity (of the encoder, its settings, the layer behind it) and a prompt. A file also says
    which weights made it: where the weights are at hand and differ, it does not count; where they are not, it does. Nor
    does a damaged file: it is written anew.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def path(self, identity: Mapping[str, str], prompt: str) -> Path:
        """The file of one embedding, whether there or not."""
        key = json.dumps({"identity": dict(identity), "prompt": prompt}, sort_keys=True)
        return self.folder / f"{sha256(key.encode()).hexdigest()[:40]}.safetensors"

    def has(self, identity: Mapping[str, str], prompt: str, *, weights: str | None) -> bool:
        """Whether :meth:`load` would find it."""
        try:
            with safe_open(self.path(identity, prompt), framework="pt") as file:
                return _made_by(file.metadata(), weights)
        except (SafetensorError, FileNotFoundError):
            return False

    def load(
        self, identity: Mapping[str, str], prompt: str, *, weights: str | None, device: torch.device
    ) -> Tensor | None:
        """The embedding, or ``None``."""
        try:
            with safe_open(self.path(identity, prompt), framework="pt", device=str(device)) as file:
                return file.get_tensor(_NAME) if _made_by(file.metadata(), weights) else None
        except (SafetensorError, FileNotFoundError):
            return None

    def save(self, identity: Mapping[str, str], prompt: str, embedding: Tensor, *, weights: str | None) -> None:
        """Write an embedding, whole or not at all."""
        metadata = {**identity, "prompt": prompt, "weights": weights or ""}
        with new_file(self.path(identity, prompt)) as partial:
            save_file({_NAME: embedding.detach().cpu().contiguous()}, partial, metadata=metadata)


def digest(module: nn.Module) -> str:
    """A hash of a module's weights, names, types and shapes included."""
    total = sha256()
    for name, tensor in module.state_dict().items():
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return total.hexdigest()


def _made_by(metadata: Mapping[str, str] | None, weights: str | None) -> bool:
    return weights is None or (metadata or {}).get("weights") == weights
