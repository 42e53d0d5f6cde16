"""``.pt`` and ``.pth`` files, as ``torch.save`` writes them: a zip of ``data.pkl`` and one record for each storage.

torch itself can only save what is in memory as a whole, hence the writer here; what it writes, ``torch.load`` reads
with ``weights_only`` and with ``mmap``, and any zip tool can verify.
"""

import io
import pickle
import re
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._utils import _rebuild_tensor_v2

from cosmos_sim.world_model.checkpoints.stored import StoredTensor, Weights, in_file, raw

NESTED = ("model", "state_dict")
"""Keys under which some trainers keep the weights, beside optimizer and counters."""

ALIGNMENT = 64
"""Bytes to which records are aligned, so that a memory-mapped tensor is as well."""

STORAGE_TYPES = {
    torch.float64: torch.DoubleStorage,
    torch.float32: torch.FloatStorage,
    torch.float16: torch.HalfStorage,
    torch.bfloat16: torch.BFloat16Storage,
    torch.int64: torch.LongStorage,
    torch.int32: torch.IntStorage,
    torch.int16: torch.ShortStorage,
    torch.int8: torch.CharStorage,
    torch.uint8: torch.ByteStorage,
    torch.bool: torch.BoolStorage,
}


def read_torch_file(path: Path) -> Weights:
    """The tensors of a ``.pt`` file; none of its data is read yet, and nothing in it is ever executed.

    Raises:
        ValueError: the file is empty, truncated, of torch's format before 1.6, or holds more than plain tensors.
    """
    with path.open("rb") as file:
        head = file.read(4)
    size = path.stat().st_size
    if not head:
        raise ValueError(f"{path} is empty (0 bytes): the download or copy did not finish")
    if head != b"PK\x03\x04":
        kind = "a bare pickle, or torch's format before 1.6" if head[:1] == b"\x80" else "no torch checkpoint"
        raise ValueError(f"{path} ({size} bytes) is {kind}: only torch.save's zip format is read")
    try:
        # TransformerEngine leaves buffers of bytes in its extra state; they hold no code.
        with torch.serialization.safe_globals([io.BytesIO]):
            content = torch.load(path, map_location="meta", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        what = named[1] if named else "code"
        raise ValueError(f"{path} holds more than tensors ({what}), which is never loaded") from error
    except (RuntimeError, EOFError) as error:
        raise ValueError(f"{path} ({size} bytes) is damaged or truncated: {str(error).splitlines()[0]}") from error
    for key in NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a dictionary of weights")
    return {str(name): _stored(path, value) for name, value in content.items() if isinstance(value, Tensor)}


def write_torch_file(weights: Weights, path: Path) -> None:
    """Write a ``.pt`` file, one tensor in memory at a time."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", _pickle(weights))
        archive.writestr("archive/byteorder", sys.byteorder)
        for index, tensor in enumerate(weights.values()):
            record = _record(f"archive/data/{index}", tensor.nbytes, archive.start_dir)
            with archive.open(record, "w", force_zip64=True) as file:
                file.write(raw(tensor.read().contiguous()))
        archive.writestr("archive/version", "3\n")


def _stored(path: Path, tensor: Tensor) -> StoredTensor:
    shape, dtype, storage = tuple(tensor.shape), tensor.dtype, tensor.untyped_storage()
    begin, offset = storage._checkpoint_offset, int(tensor.storage_offset())
    assert begin is not None, "torch.load onto the meta device says where each storage lies"
    if tensor.is_contiguous():
        return in_file(path, begin + offset * dtype.itemsize, shape, dtype)
    whole = in_file(path, begin, (storage.nbytes() // dtype.itemsize,), dtype)
    stride = tensor.stride()
    return StoredTensor(shape, dtype, lambda: whole.read().as_strided(shape, stride, offset).contiguous())


def _record(name: str, nbytes: int, begin: int) -> zipfile.ZipInfo:
    """A zip record whose data is aligned, through padding in its extra field as torch does it."""
    record = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    record.file_size = nbytes
    zip64 = 20
    header = begin + 30 + len(name) + zip64 + 4
    padding = -header % ALIGNMENT
    record.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
    return record


class _Storage:
    """Stands for one tensor's storage in the pickle; its bytes are in the record of that number."""

    def __init__(self, index: int, tensor: StoredTensor) -> None:
        numel = torch.Size(tensor.shape).numel()
        self.key = ("storage", STORAGE_TYPES[tensor.dtype], str(index), "cpu", numel)


class _Entry:
    """Stands for one tensor in the pickle."""

    def __init__(self, index: int, tensor: StoredTensor) -> None:
        stride = torch.empty(tensor.shape, device="meta").stride()
        hooks: OrderedDict[int, Any] = OrderedDict()
        self.arguments = (_Storage(index, tensor), 0, tensor.shape, stride, False, hooks)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_tensor_v2, self.arguments


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return obj.key if isinstance(obj, _Storage) else None


def _pickle(weights: Weights) -> bytes:
    for name, tensor in weights.items():
        if tensor.dtype not in STORAGE_TYPES:
            raise ValueError(f"{name} has dtype {tensor.dtype}, which a .pt file of weights cannot hold")
    buffer = io.BytesIO()
    entries = {name: _Entry(index, tensor) for index, (name, tensor) in enumerate(weights.items())}
    _Pickler(buffer, protocol=2).dump(entries)
    return buffer.getvalue()
