"""Networks of the Hugging Face hub, from a folder or from the hub's cache on this machine."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from cosmos_sim.world_model.reason1 import find_model


def hub_folder(model: str, what: str) -> Path:
    """The folder of ``model``: one as transformers writes it, or a hub id that was downloaded.

    Raises:
        ValueError: it is in neither place; the message tells the command that gets it.
    """
    folder = find_model(model)
    if folder is None:
        raise ValueError(f"the {what} {model!r} is not here; get it with: hf download {model}")
    return folder


def load_network(loader: Any, folder: Path, *, device: torch.device, dtype: torch.dtype = torch.float32) -> Any:
    """A network of transformers' class ``loader``, complete, in evaluation mode and without gradients.

    Raises:
        ValueError: weights that are missing, damaged or of another network, naming the folder.
    """
    try:
        network, report = loader.from_pretrained(
            folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"{str(folder)!r} holds no weights of {loader.__name__}: {error}") from error
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"{str(folder)!r} lacks {len(missing)} weights of its {loader.__name__} (first: {missing[0]})")
    return network.to(device).eval().requires_grad_(False)
