"""A checkpoint's tensors, as torch itself reads them."""

from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor


def stored_tensors(folder: Path, group: str = "") -> dict[str, Tensor]:
    """All tensors by name, or those of a group (``model``, ``ema``, ``optimizer``) by their names in it."""
    reader = dcp.FileSystemReader(folder)
    entries = reader.read_metadata().state_dict_metadata
    tensors = {name: torch.empty(entry.size, dtype=entry.properties.dtype) for name, entry in entries.items()}
    dcp.load(tensors, storage_reader=reader, no_dist=True)
    prefix = f"{group}." if group else ""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
