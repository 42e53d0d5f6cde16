"""Sharded safetensors with an index, in the layout that the Hugging Face libraries share.

``STEM-00001-of-0000n.safetensors`` and ``STEM.safetensors.index.json``; a single ``STEM.safetensors``, without an
index, where one shard is enough.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from cosmos_sim.data.pretrained import no_safetensors
from cosmos_sim.world_model.checkpoints.stored import StoredTensor, Weights, raw, total_bytes

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
CODES = {dtype: code for code, dtype in DTYPES.items()}


def read_shards(folder: Path, stem: str) -> Weights:
    """The tensors of ``STEM``'s shards in ``folder``, every one checked to be there; no data is read yet.

    Raises:
        ValueError: a shard is missing, truncated, foreign, or lacks a tensor that the index promises.
    """
    index, single = folder / f"{stem}.safetensors.index.json", folder / f"{stem}.safetensors"
    if not index.is_file():
        if not single.is_file():
            raise ValueError(f"{folder} holds neither {single.name} nor {index.name}")
        return read_shard(single)
    try:
        places: dict[str, str] = json.loads(index.read_text())["weight_map"]
        names = sorted(set(places.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} is no index of shards: {type(error).__name__}: {error}") from error
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise ValueError(f"{index} promises the shard {name!r}, which {folder} does not hold")
    found = {name: read_shard(folder / name) for name in names}
    for key, name in places.items():
        if key not in found[name]:
            raise ValueError(f"{index} promises {key} in {name}, which does not hold it")
    return {key: found[name][key] for key, name in places.items()}


def read_shard(path: Path) -> Weights:
    """The tensors of one safetensors file; no data is read yet.

    Raises:
        ValueError: the file is empty, truncated, or something else (a pickle is named as one, and never loaded).
    """
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118, no mapping
            layout = {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
    except SafetensorError as error:
        raise no_safetensors(path, error) from error
    for name, (_, code) in layout.items():
        if code not in DTYPES:
            raise ValueError(f"{path}: {name} has dtype {code}, which is not known here")
    return {
        name: StoredTensor(shape, DTYPES[code], partial(_get, path, name)) for name, (shape, code) in layout.items()
    }


def shard_metadata(path: Path) -> dict[str, str]:
    """The text entries in the header of a safetensors file."""
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def write_shards(
    weights: Weights, folder: Path, stem: str, *, max_bytes: int, metadata: Mapping[str, str] | None = None
) -> None:
    """Write ``weights`` in shards of at most ``max_bytes`` (more only for a single larger tensor), one tensor in
    memory at a time."""
    shards = split(weights, max_bytes)
    header = {"format": "pt", **(metadata or {})}
    if len(shards) == 1:
        write_shard(shards[0], folder / f"{stem}.safetensors", metadata=header)
        return
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = f"{stem}-{number:05d}-of-{len(shards):05d}.safetensors"
        write_shard(shard, folder / name, metadata=header)
        places |= dict.fromkeys(shard, name)
    index = {"metadata": {"total_size": total_bytes(weights)}, "weight_map": places}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def split(weights: Weights, max_bytes: int) -> list[dict[str, StoredTensor]]:
    """``weights`` in order, cut into shards."""
    if max_bytes < 1:
        raise ValueError(f"a shard must hold at least one byte, not {max_bytes}")
    shards: list[dict[str, StoredTensor]] = [{}]
    size = 0
    for name, tensor in weights.items():
        if shards[-1] and size + tensor.nbytes > max_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    return shards


def write_shard(weights: Weights, path: Path, *, metadata: Mapping[str, str]) -> None:
    """Write one safetensors file: 8 bytes of header length, the header in JSON, the tensors' bytes."""
    # Widest dtype first, as safetensors itself orders them: every tensor is then aligned to its own width.
    ordered = sorted(weights.items(), key=lambda item: -item[1].dtype.itemsize)
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in ordered:
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for _, tensor in ordered:
            file.write(raw(tensor.read().contiguous()))


def _get(path: Path, name: str) -> Tensor:
    # Opened for each tensor: the pages of a memory map count as this process's memory until it is closed.
    with safe_open(path, framework="pt") as file:
        tensor: Tensor = file.get_tensor(name)
        return tensor
