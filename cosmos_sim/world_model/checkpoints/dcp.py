"""Folders of ``torch.distributed.checkpoint``, as NVIDIA's trainer writes them, read and written tensor by tensor."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint import filesystem, metadata
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from cosmos_sim.training.dcp_reader import METADATA, SafeReader
from cosmos_sim.world_model.checkpoints.stored import StoredTensor, Weights


def is_dcp(folder: Path) -> bool:
    return (folder / METADATA).is_file()


def read_dcp(folder: Path) -> Weights:
    """The tensors of a distributed checkpoint, however many ranks wrote it; no data is read yet.

    Raises:
        ValueError: the metadata is damaged or names anything but a checkpoint's parts, or a file is missing or cut.
    """
    reader = SafeReader(folder)
    found = reader.read_metadata()
    ends: dict[str, int] = {}
    for place in (found.storage_data or {}).values():
        ends[place.relative_path] = max(ends.get(place.relative_path, 0), place.offset + place.length)
    for name, end in sorted(ends.items()):
        file = folder / name
        if not file.is_file():
            raise ValueError(f"{folder} lacks {name}, which its {METADATA} promises")
        if file.stat().st_size < end:
            raise ValueError(f"{file} is truncated: {file.stat().st_size} of {end} bytes")
    return {
        name: StoredTensor(tuple(entry.size), entry.properties.dtype, partial(_read, reader, name, entry))
        for name, entry in found.state_dict_metadata.items()
        if isinstance(entry, metadata.TensorStorageMetadata)
    }


def write_dcp(weights: Weights, folder: Path) -> None:
    """Write a distributed checkpoint of one rank into ``folder``, one tensor in memory at a time."""
    outline = {name: torch.empty(tensor.shape, dtype=tensor.dtype, device="meta") for name, tensor in weights.items()}
    with _alone():
        dcp.save(outline, storage_writer=_Writer(folder), planner=_Planner(weights), no_dist=True)


class _Planner(DefaultSavePlanner):
    """Reads each tensor when its turn to be written has come."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.weights = weights

    def lookup_object(self, index: metadata.MetadataIndex) -> Any:
        return self.weights[index.fqn].read().contiguous()


class _Writer(dcp.FileSystemWriter):
    """One file, of which torch's own writer would hold every tensor until it is closed."""

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        name = f"{plan.storage_data.prefix}0{filesystem.DEFAULT_SUFFIX}"
        results = []
        with (Path(self.path) / name).open("wb") as file:
            for item in plan.items:
                begin = file.tell()
                torch.save(planner.resolve_data(item), file)
                length = file.tell() - begin
                place = filesystem._StorageInfo(name, begin, length)
                results.append(WriteResult(index=item.index, size_in_bytes=length, storage_data=place))
        done: Future[list[WriteResult]] = Future()
        done.set_result(results)
        return done


def _read(reader: SafeReader, name: str, entry: metadata.TensorStorageMetadata) -> Tensor:
    tensor = torch.empty(entry.size, dtype=entry.properties.dtype)
    with _alone():
        dcp.load({name: tensor}, storage_reader=reader, no_dist=True)
    return tensor


@contextmanager
def _alone() -> Iterator[None]:
    """Without torch's warning that there is one process, which is meant."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        yield
