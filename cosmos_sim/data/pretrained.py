"""Trained artefacts on disk: one folder with ``config.json``, ``*.safetensors`` and a model card.

Found by name (shipped in the package), by path or by hub id; read without ever unpickling; written whole or not at all.
"""

import difflib
import json
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl")


def shipped(kind: str) -> dict[str, Path]:
    """Name to folder of what the package ships of one kind (``"world"`` or ``"policy"``)."""
    root = Path(str(resources.files("cosmos_sim"))) / "weights"
    configs = sorted(root.rglob("config.json"))
    return {path.parent.name: path.parent for path in configs if json.loads(path.read_text()).get("kind") == kind}


def find_folder(name: str | os.PathLike[str], kind: str) -> Path:
    """The folder of an artefact, given its shipped name, its path, or a hub id (``owner/repository``).

    A shipped name comes before a folder of that name; write ``./name`` for the folder.

    Raises:
        ValueError: there is none; the message lists the shipped names and suggests the nearest.
    """
    path, known = Path(name), shipped(kind)
    if str(name) in known:
        return known[str(name)]
    if path.is_dir():
        return path
    if path.is_file():
        raise ValueError(f"{path} is a file: give the folder that holds a {kind}'s config.json")
    tried = ""
    if str(name).count("/") == 1 and not path.is_absolute() and not str(name).startswith("."):
        from huggingface_hub import snapshot_download

        try:
            return Path(snapshot_download(str(name), allow_patterns=["*.json", "*.safetensors", "README.md"]))
        except Exception as error:  # the hub client raises many unrelated types
            tried = f"; the hub did not give it either ({type(error).__name__}: {str(error).splitlines()[0]})"
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"unknown {kind} {str(name)!r}: no such folder, and the shipped ones are {sorted(known)}{hint}{tried}"
    )


def read_config(folder: Path, *kinds: str) -> dict[str, Any]:
    """The parsed ``config.json`` of an artefact, which is of one of ``kinds``.

    Raises:
        ValueError: it is missing, is not JSON, or describes something else.
    """
    path, wanted = folder / "config.json", " or ".join(kinds)
    if not path.is_file():
        raise ValueError(f"{folder} holds no config.json, so it is no {wanted}")
    config = _parsed(path)
    if not isinstance(config, dict) or config.get("kind") not in kinds:
        found = config.get("kind") if isinstance(config, dict) else type(config).__name__
        near = difflib.get_close_matches(str(found), kinds, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{path} describes kind={found!r}, not a {wanted}{hint}")
    return config


def kind_of(folder: Path) -> str | None:
    """What the ``config.json`` in ``folder``, if there is one, says that it describes.

    Raises:
        ValueError: it is not JSON.
    """
    path = folder / "config.json"
    config = _parsed(path) if path.is_file() else None
    return config.get("kind") if isinstance(config, dict) else None


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:  # also bytes that are no text
        raise ValueError(f"{path} is not valid JSON: {error}") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        ValueError: the file is missing, truncated, or a pickle, which is never loaded.
    """
    if not path.is_file():
        pickles = sorted(p.name for p in path.parent.glob("*") if p.suffix in PICKLES)
        hint = f"; it holds {pickles[0]}, a pickle, which is never loaded" if pickles else ""
        raise ValueError(f"{path.parent} has no {path.name}{hint}")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise no_safetensors(path, error) from error


def no_safetensors(path: Path, error: SafetensorError) -> ValueError:
    """What to tell of a file that safetensors could not read.

    Only such a file can be told to be a pickle: a good one may begin with the same bytes, its header's length.
    """
    with path.open("rb") as file:
        head = file.read(2)
    if head == b"PK" or head[:1] == b"\x80":
        return ValueError(f"{path} is a pickle in place of a safetensors file: it is never loaded")
    return ValueError(f"{path} ({path.stat().st_size} bytes) is damaged or no safetensors file: {error}")


def write_small(folder: Path, net: nn.Module, config: Mapping[str, Any], *, weights: str, card: str) -> None:
    """config.json, the weights in half precision and README.md of a small network, into an existing folder."""
    save_file(half_weights(net), folder / weights)
    (folder / "config.json").write_text(to_json(config))
    (folder / "README.md").write_text(card)


def half_weights(net: nn.Module) -> dict[str, Tensor]:
    """The state of a network on the CPU, its parameters in half precision and its buffers as they are."""
    buffers = {name for name, _ in net.named_buffers()}
    return {
        name: (tensor if name in buffers else tensor.half()).detach().cpu().contiguous()
        for name, tensor in net.state_dict().items()
    }


def find_small(name: str | os.PathLike[str], kind: str, version: int) -> tuple[Path, dict[str, Any]]:
    """The folder that :func:`write_small` wrote, by folder, shipped name or hub id, and what its config says.

    Raises:
        ValueError: none of that kind, or of another ``format`` than ``version``; the message names the file.
    """
    folder = find_folder(name, kind)
    values = read_config(folder, kind)
    if values.get("format") != version:
        raise ValueError(f"{folder / 'config.json'} has format {values.get('format')!r}; this version reads {version}")
    return folder, values


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a safetensors file into ``module``.

    Raises:
        ValueError: names or shapes differ; the message names the first missing, unexpected or misshapen one.
    """
    tensors = read_tensors(path)
    own = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    check_fit({name: tuple(tensor.shape) for name, tensor in tensors.items()}, own, str(path))
    module.load_state_dict(tensors)


def check_fit(
    found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], where: str, what: str = "its config"
) -> None:
    """Compare the names and shapes of weights with those of ``what``.

    Raises:
        ValueError: they differ; the message begins with ``where`` and names the first missing, unexpected or misshapen.
    """
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    if missing or unexpected:
        raise ValueError(
            f"{where} does not fit {what}: {len(missing)} weights missing (first: {missing[:1]}), "
            f"{len(unexpected)} unexpected (first: {unexpected[:1]})"
        )
    for name, shape in found.items():
        if shape != expected[name]:
            raise ValueError(f"{where}: {name} has shape {shape}, expected {expected[name]}")


def to_json(config: Any) -> str:
    """A config dataclass, or a mapping of them, as readable JSON."""
    plain = {k: asdict(v) if is_dataclass(v) and not isinstance(v, type) else v for k, v in dict(config).items()}
    return json.dumps(plain, indent=2) + "\n"


def from_dict[T](cls: type[T], values: Mapping[str, Any], *, where: str = "config") -> T:
    """A (nested) config dataclass from parsed JSON; lists become tuples.

    Raises:
        ValueError: a field is unknown or missing.
    """
    hints = typing.get_type_hints(cls)
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise ValueError(f"{where} has an unknown field {name!r} (known: {sorted(known)})")
    for name, f in known.items():
        if name not in values and f.default is MISSING and f.default_factory is MISSING:
            raise ValueError(f"{where} lacks the field {name!r}")
    return cls(**{name: _convert(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value, where=where)
    if isinstance(hint, types.UnionType) and value is not None:
        return _convert(next(h for h in typing.get_args(hint) if h is not type(None)), value, where)
    if isinstance(value, list):
        return tuple(tuple(v) if isinstance(v, list) else v for v in value)
    if isinstance(value, dict):
        return {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
    return value
