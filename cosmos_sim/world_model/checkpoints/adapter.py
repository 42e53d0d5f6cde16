"""LoRA adapters (W + scale B A, Hu et al. 2021) of a network: PEFT's folders, diffusers' files, NVIDIA's names.

DoRA (Liu et al. 2024), which gives each row of that sum a trained length, is read and written as PEFT's folders alone.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cosmos_sim.data.files import new_file, new_folder
from cosmos_sim.world_model.checkpoints.names import diffusers_module, from_nvidia, our_module
from cosmos_sim.world_model.checkpoints.shards import write_shard
from cosmos_sim.world_model.checkpoints.source import DIFFUSERS_LORA, PEFT, Source
from cosmos_sim.world_model.checkpoints.stored import StoredTensor, Weights
from cosmos_sim.world_model.checkpoints.torch_file import write_torch_file

NVIDIA_ALPHA = 32.0
"""``lora_alpha`` of NVIDIA's post-training configurations, whose checkpoints do not hold it."""
HEADER = "lora_adapter_metadata"
"""Where diffusers keeps an adapter's configuration: the header of its safetensors file."""
MAGNITUDE = ".lora_magnitude_vector"
PREFIXES = ("base_model.model.", "transformer.")
UNREAD = {
    "bias": "none",
    "modules_to_save": None,
    "fan_in_fan_out": False,
    "lora_bias": False,
    "rank_pattern": None,
    "alpha_pattern": None,
}
"""Options of PEFT that change what an adapter computes, and the only values that are understood here."""


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter: ``lora_A.weight`` (r, in) and ``lora_B.weight`` (out, r) of each module, under our names.

    One of DoRA also has ``lora_magnitude_vector`` (out) of each.
    """

    weights: Weights
    alpha: float
    rslora: bool = False
    """Whether the scale is alpha / sqrt(r) in place of alpha / r (Kalajdzievski 2023)."""

    @property
    def modules(self) -> list[str]:
        return [name.removesuffix(".lora_A.weight") for name in self.weights if name.endswith(".lora_A.weight")]

    @property
    def rank(self) -> int:
        return self.weights[f"{self.modules[0]}.lora_A.weight"].shape[0]

    @property
    def scale(self) -> float:
        return self.alpha / (self.rank**0.5 if self.rslora else self.rank)

    @property
    def dora(self) -> bool:
        return any(name.endswith(MAGNITUDE) for name in self.weights)


def is_adapter(weights: Weights) -> bool:
    return bool(weights) and all(".lora_" in name for name in weights)


def open_adapter(source: Source, *, alpha: float | None = None) -> Adapter:
    """Read an adapter's configuration and check its weights; no data is read yet.

    Args:
        alpha: numerator of the scale, for files that do not hold it (NVIDIA's: 32 when not given).

    Raises:
        ValueError: it is no LoRA adapter of a Cosmos-Predict2.5 network, uses what is not understood here, or
            ``alpha`` would be ignored.
    """
    if not is_adapter(source.weights):
        first = next((name for name in source.weights if ".lora_" not in name), None)
        raise ValueError(f"{source.path} is no LoRA adapter: it holds {first or 'no weights'}")
    stated: Mapping[str, Any] = source.config
    if HEADER in stated:
        header = json.loads(stated[HEADER])
        stated = {name.removeprefix("transformer."): value for name, value in header.items()}
    if "lora_alpha" in stated and alpha is not None:
        raise ValueError(f"alpha={alpha} would be ignored: {source.path} says lora_alpha={stated['lora_alpha']}")
    for name, only in UNREAD.items():
        if stated.get(name) not in (only, [], {}, None):
            raise ValueError(f"{source.path} has {name}={stated[name]!r}, which is not understood here")
    adapter = adapter_of(
        source.weights,
        alpha=float(stated.get("lora_alpha", NVIDIA_ALPHA if alpha is None else alpha)),
        rslora=bool(stated.get("use_rslora", False)),
        where=str(source.path),
    )
    if adapter.dora != bool(stated.get("use_dora", False)):
        raise ValueError(f"{source.path}: use_dora={stated.get('use_dora')}, but magnitudes there: {adapter.dora}")
    return adapter


def adapter_of(weights: Weights, *, alpha: float, rslora: bool = False, where: str) -> Adapter:
    """An adapter from its weights under any of the namings.

    Raises:
        ValueError: a module is unknown, lacks one of its halves, or differs in rank from the others.
    """
    named: dict[str, StoredTensor] = {}
    for name, tensor in from_nvidia(weights).items():
        for prefix in PREFIXES:
            name = name.removeprefix(prefix)
        found = re.fullmatch(r"(.+)\.(lora_[AB]|lora_magnitude_vector)(?:\.default)?(?:\.weight)?", name)
        ours = None if found is None else our_module(found[1]) or (found[1] if diffusers_module(found[1]) else None)
        if found is None or ours is None:
            raise ValueError(f"{where}: {name} is no LoRA weight of a module of Cosmos-Predict2.5")
        named[f"{ours}.{found[2]}" + (".weight" if found[2] in ("lora_A", "lora_B") else "")] = tensor
    adapter = Adapter(named, alpha, rslora)
    each = 3 if adapter.dora else 2
    if len(named) != each * len(adapter.modules) or not named:
        halves = "an A, a B and a magnitude" if adapter.dora else "an A and a B"
        raise ValueError(f"{where}: {len(adapter.modules)} modules, but {len(named)} weights: each needs {halves}")
    for module in adapter.modules:
        if adapter.dora and f"{module}{MAGNITUDE}" not in named:
            raise ValueError(f"{where}: {module} has no magnitude, others have")
        a, b = named[f"{module}.lora_A.weight"], named.get(f"{module}.lora_B.weight")
        if b is None or len(a.shape) != 2 or len(b.shape) != 2 or not a.shape[0] == b.shape[1] == adapter.rank:
            shape = None if b is None else b.shape
            raise ValueError(f"{where}: {module} has A {a.shape} and B {shape}; rank {adapter.rank} was expected")
    return adapter


def merge(weights: Weights, adapter: Adapter) -> dict[str, StoredTensor]:
    """The network's weights with the adapter added as they are read: W + scale B A, in fp32, rounded once.

    With DoRA each row of the sum is brought to its magnitude.

    Raises:
        ValueError: a module of the adapter is not in the network, or has another size there.
    """
    merged = dict(weights)
    for module in adapter.modules:
        a, b = (adapter.weights[f"{module}.lora_{half}.weight"] for half in "AB")
        base = weights.get(f"{module}.weight")
        if base is None or base.shape != (b.shape[0], a.shape[1]):
            found = "no such module" if base is None else f"{base.shape}"
            raise ValueError(f"the adapter changes {module} of {(b.shape[0], a.shape[1])}, the network has {found}")
        read = partial(_merged, base, a, b, adapter.scale, adapter.weights.get(f"{module}{MAGNITUDE}"))
        merged[f"{module}.weight"] = StoredTensor(base.shape, base.dtype, read)
    return merged


def save_peft(adapter: Adapter, folder: Path) -> None:
    """Write a PEFT folder, with our module names: for :class:`DiT` and NVIDIA's network."""
    with new_folder(folder) as beside:
        named = {f"base_model.model.{name}": tensor for name, tensor in adapter.weights.items()}
        write_shard(named, beside / f"{PEFT}.safetensors", metadata={"format": "pt"})
        config = {"peft_type": "LORA", "task_type": None, "base_model_name_or_path": None, "inference_mode": True}
        (beside / "adapter_config.json").write_text(json.dumps(config | lora_config(adapter), indent=2) + "\n")


def save_diffusers_lora(adapter: Adapter, folder: Path) -> None:
    """Write what diffusers' ``load_lora_weights`` loads, its configuration in the header.

    Raises:
        ValueError: it is one of DoRA.
    """
    _check_plain(adapter, "diffusers' file")
    modules = {module: f"transformer.{diffusers_module(module)}" for module in adapter.modules}
    named = {
        f"{theirs}.lora_{half}.weight": adapter.weights[f"{ours}.lora_{half}.weight"]
        for ours, theirs in modules.items()
        for half in "AB"
    }
    config = lora_config(adapter) | {"target_modules": [m.removeprefix("transformer.") for m in modules.values()]}
    header = json.dumps({f"transformer.{name}": value for name, value in config.items()}, indent=2, sort_keys=True)
    with new_folder(folder) as beside:
        write_shard(named, beside / DIFFUSERS_LORA, metadata={"format": "pt", HEADER: header})


def save_nvidia_lora(adapter: Adapter, file: Path) -> None:
    """Write the adapter alone under the names that NVIDIA's trainer gives it; its scale must be its configuration's.

    Raises:
        ValueError: it is one of DoRA.
    """
    _check_plain(adapter, "NVIDIA's trainer")
    named = {f"net.{name.removesuffix('.weight')}.default.weight": t for name, t in adapter.weights.items()}
    with new_file(file) as beside:
        write_torch_file(named, beside)


def lora_config(adapter: Adapter) -> dict[str, Any]:
    """PEFT's description of what the adapter computes."""
    alpha = int(adapter.alpha) if adapter.alpha.is_integer() else adapter.alpha
    return {
        "r": adapter.rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "use_rslora": adapter.rslora,
        "bias": "none",
        "use_dora": adapter.dora,
        "rank_pattern": {},
        "alpha_pattern": {},
        "target_modules": adapter.modules,
    }


def _check_plain(adapter: Adapter, there: str) -> None:
    if adapter.dora:
        raise ValueError(f"{there} has no place for DoRA's magnitudes: merge the adapter, or write a PEFT folder")


def _merged(
    base: StoredTensor, a: StoredTensor, b: StoredTensor, scale: float, magnitude: StoredTensor | None
) -> Tensor:
    total = torch.addmm(base.read().float(), b.read().float(), a.read().float(), alpha=scale)
    if magnitude is not None:
        total *= (magnitude.read().float() / torch.linalg.norm(total, dim=1))[:, None]
    return total.to(base.dtype)
