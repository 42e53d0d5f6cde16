"""What kind of checkpoint a path is, found by looking at it."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cosmos_sim.world_model.checkpoints.dcp import is_dcp, read_dcp
from cosmos_sim.world_model.checkpoints.shards import read_shard, read_shards, shard_metadata
from cosmos_sim.world_model.checkpoints.stored import Weights
from cosmos_sim.world_model.checkpoints.torch_file import read_torch_file

OURS = "model"
DIFFUSERS = "diffusion_pytorch_model"
PEFT = "adapter_model"
DIFFUSERS_LORA = "pytorch_lora_weights.safetensors"
STEMS = {"CosmosTransformer3DModel": DIFFUSERS, "CosmosControlNetModel": DIFFUSERS, "AutoencoderKLWan": DIFFUSERS}
"""Classes of diffusers that are read, and the names of their files."""
KINDS = ("dit", "control")
"""Kinds of our folders that are read."""


@dataclass(frozen=True)
class Source:
    """A checkpoint's tensors under their names on disk, and the configuration beside them."""

    path: Path
    weights: Weights
    config: dict[str, Any] = field(default_factory=dict)
    """The parsed ``config.json`` or ``adapter_config.json``, or the text in a safetensors header; may be empty."""
    branches: tuple["Source", ...] = ()
    """Control branches that lie in folders beside a network's."""

    @property
    def diffusers_class(self) -> str | None:
        return self.config.get("_class_name")

    @property
    def is_ours(self) -> bool:
        return self.config.get("kind") in KINDS


def open_source(path: str | Path) -> Source:
    """Look at a file or folder; no tensor's data is read yet.

    Folders may be: ours, a component of diffusers or a whole pipeline (then its transformer), a distributed checkpoint
    or an iteration of NVIDIA's trainer (then its model), a PEFT adapter. Beside a network may lie its control branches:
    ours in ``dit`` and ``controls/*`` (a world need not have any), those of a pipeline in ``transformer`` and
    ``controlnet*``.

    Raises:
        ValueError: there is nothing at ``path``, or nothing known; the message says what to do.
    """
    path = located(path)
    if path.is_file():
        if path.suffix == ".safetensors":
            return Source(path, read_shard(path), dict(shard_metadata(path)))
        return Source(path, read_torch_file(path))
    for network, pattern in (("dit", "controls/*"), ("transformer", "controlnet*")):
        branches = tuple(found for folder in sorted(path.glob(pattern)) if (found := _folder(folder)) is not None)
        if branches and (source := _folder(path / network)) is not None:
            return replace(source, path=path, branches=branches)
    for folder in (path / "dit", path, path / "transformer", path / "model"):
        if (source := _folder(folder)) is not None:
            return source
    inside = sorted(str(p.relative_to(path)) for p in path.rglob("*.pt"))
    inside += sorted(str(p.parent.relative_to(path)) for name in ("config.json", ".metadata") for p in path.rglob(name))
    hint = f"; inside it there are {inside[:5]}: give one of them" if inside else ""
    raise ValueError(f"{path} holds no checkpoint (no .metadata, config.json or adapter_config.json of one){hint}")


def located(path: str | Path) -> Path:
    """``path``, if it exists.

    Raises:
        ValueError: it does not; for a name on the hub the message gives the command that downloads it.
    """
    found = Path(path)
    if found.exists():
        return found
    parts = found.parts
    if len(parts) >= 2 and not found.is_absolute() and parts[0] not in (".", "..") and not found.parent.exists():
        repository, file = "/".join(parts[:2]), "/".join(parts[2:])
        name = parts[1]
        command = " ".join(filter(None, ("hf download", repository, file, "--local-dir", name)))
        raise ValueError(
            f"{str(path)!r} is not on this disk. If it is on the Hugging Face hub, download it first: `{command}`, and "
            f"give {'/'.join(filter(None, (name, file)))!r}"
        )
    raise ValueError(f"there is no file or folder {str(path)!r}")


def _folder(folder: Path) -> Source | None:
    if is_dcp(folder):
        return Source(folder, read_dcp(folder))
    if (folder / "adapter_config.json").is_file():
        return Source(folder, read_shards(folder, PEFT), _json(folder / "adapter_config.json"))
    if (lora := folder / DIFFUSERS_LORA).is_file():
        return Source(lora, read_shard(lora), dict(shard_metadata(lora)))
    if (folder / "config.json").is_file():
        config = _json(folder / "config.json")
        stem = OURS if config.get("kind") in KINDS else STEMS.get(str(config.get("_class_name")))
        if stem is not None:
            return Source(folder, read_shards(folder, stem), config)
        kind = config.get("_class_name") or config.get("kind") or config.get("architectures")
        raise ValueError(
            f"{folder / 'config.json'} describes {kind!r}, not {' or '.join(STEMS)} or one of our networks"
        )
    return None


def _json(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds a {type(config).__name__}, not an object")
    return config
