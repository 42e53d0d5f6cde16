"""Folders of ``torch.distributed.checkpoint``, opened without executing what a foreign pickle might hold."""

import pickle
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import FileSystemReader, filesystem, metadata

METADATA = ".metadata"
SAFE = {
    *((metadata.__name__, name) for name in (*metadata.__all__, "_MEM_FORMAT_ENCODING")),
    (filesystem.__name__, "_StorageInfo"),
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    ("pathlib", "PosixPath"),
    ("pathlib", "Path"),
    ("collections", "OrderedDict"),
}
"""All that the pickled metadata of a checkpoint may name, besides dtypes."""


class SafeReader(FileSystemReader):
    """Reads the metadata once, and by :func:`read_metadata`; the tensors are read with ``weights_only`` by torch."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._found: metadata.Metadata | None = None

    def read_metadata(self, *args: Any, **kwargs: Any) -> metadata.Metadata:
        if self._found is None:
            self._found = read_metadata(Path(self.path) / METADATA)
        return self._found


def read_metadata(path: Path) -> metadata.Metadata:
    """Unpickle a checkpoint's metadata, with nothing allowed but the classes it is made of.

    Raises:
        ValueError: it is damaged, or names anything else.
    """
    try:
        with path.open("rb") as file:
            found = _Unpickler(file).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, TypeError, ValueError, IndexError, KeyError) as error:
        raise ValueError(
            f"{path} is no metadata of a distributed checkpoint: {error or type(error).__name__}"
        ) from error
    if not isinstance(found, metadata.Metadata):
        raise ValueError(f"{path} holds a {type(found).__name__}, not the metadata of a distributed checkpoint")
    if getattr(found, "storage_meta", None) is None:
        found.storage_meta = metadata.StorageMeta()
    return found


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in SAFE or (module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is never loaded")
