"""One checkpoint into another: what ``cosmos-sim convert`` does."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from cosmos_sim.world_model.checkpoints.adapter import (
    NVIDIA_ALPHA,
    Adapter,
    adapter_of,
    is_adapter,
    merge,
    open_adapter,
    save_diffusers_lora,
    save_nvidia_lora,
    save_peft,
)
from cosmos_sim.world_model.checkpoints.control import is_branch, is_control, open_control
from cosmos_sim.world_model.checkpoints.control_write import (
    save_controls,
    save_controls_diffusers,
    save_controls_nvidia,
)
from cosmos_sim.world_model.checkpoints.infer import Unseen
from cosmos_sim.world_model.checkpoints.names import Which
from cosmos_sim.world_model.checkpoints.network import (
    SHARD,
    Network,
    open_network,
    save_dcp,
    save_diffusers,
    save_nvidia,
    save_ours,
)
from cosmos_sim.world_model.checkpoints.source import Source, open_source
from cosmos_sim.world_model.checkpoints.stored import Weights, total_bytes, watched
from cosmos_sim.world_model.checkpoints.vae import is_vae, open_vae, save_vae_diffusers, save_vae_nvidia

Format = Literal["nvidia", "nvidia-dcp", "diffusers", "ours"]
Inner = Literal["merge", "extract", "drop"]
CONTROL = ("base", "controls")
"""Options of control branches alone."""
Watch = Callable[[int, int], None]
"""Told the bytes just read, and those in all, for a progress bar."""


@dataclass(frozen=True)
class Converted:
    """What was written."""

    kind: Literal["network", "control", "adapter", "vae"]
    path: Path
    tensors: int
    nbytes: int


@dataclass(frozen=True)
class Options:
    """How to convert; what does not apply to a checkpoint is an error, not ignored."""

    dtype: torch.dtype | None = None
    """Of the floating weights written; as stored when ``None``."""
    which: Which = "auto"
    """The averaged or the regular weights of a training checkpoint."""
    adapter: str | Path | None = None
    """A LoRA adapter to merge into a network's weights."""
    inner: Inner | None = None
    """What becomes of an adapter that lies among a network's weights: must be said where there is one."""
    lora_alpha: float | None = None
    """Numerator of an adapter's scale where its file does not hold it (NVIDIA's: 32 when not given)."""
    unseen: Unseen | None = None
    """What the shapes of a network do not say, for files without a configuration (NVIDIA's)."""
    keep_actions: bool = False
    """For diffusers, which has no action conditioning: keep those weights in a file of their own."""
    base: str | Path | None = None
    """The transformer of a control branch that lies alone, for formats that hold both."""
    controls: tuple[str, ...] | None = None
    """Kinds of the control branches, in their order, where the files do not say them (NVIDIA's; four are edge, blur,
    depth, seg when not given); else which of them to convert."""
    max_shard: int = SHARD
    """Bytes of a safetensors shard, at most."""


def convert(
    source: str | Path,
    destination: str | Path,
    *,
    to: Format,
    options: Options | None = None,
    overwrite: bool = False,
    watch: Watch | None = None,
) -> Converted:
    """Convert a network, control branches, a LoRA adapter or a VAE: ``source`` shows which, and of which format.

    One tensor at a time is in memory. The result is written beside its place and renamed.

    Args:
        source: a ``.pt``, ``.pth`` or ``.safetensors`` file, or a folder of NVIDIA's trainer, diffusers, PEFT or ours.
        destination: a file ending in .pt or .pth for ``nvidia``, a folder for the others. For ``diffusers`` it is a
            pipeline's folder: the network goes to its ``transformer``, a control branch to its ``controlnet``, the VAE
            to its ``vae``. For ``ours`` of branches with their transformer it will hold ``dit`` and ``controls/KIND``.

    Raises:
        ValueError: the source is damaged or foreign, the target has no place for it, an option would be ignored, or
            the destination exists. Nothing is written then.
    """
    options = options or Options()
    found = open_source(source)
    destination = Path(destination)
    if to == "nvidia" and destination.suffix not in (".pt", ".pth"):
        raise ValueError(f"NVIDIA's format is one file: give a destination ending in .pt or .pth, not {destination}")
    if to != "nvidia" and destination.suffix in (".pt", ".pth", ".safetensors"):
        raise ValueError(f"{to} is a folder: give one as the destination, not {destination}")
    if is_vae(found):
        return _vae(found, destination, to, options, overwrite, watch)
    if is_adapter(found.weights):
        _unused(options, "an adapter", *CONTROL, "adapter", "inner", "which", "unseen", "keep_actions", "max_shard")
        adapter = open_adapter(found, alpha=options.lora_alpha)
        return _adapter(adapter, found, destination, to, options, overwrite, watch)
    if is_control(found):
        return _control(found, destination, to, options, overwrite, watch)
    return _network(found, destination, to, options, overwrite, watch)


def _network(
    source: Source, destination: Path, to: Format, options: Options, overwrite: bool, watch: Watch | None
) -> Converted:
    _unused(options, "a network without control branches", *CONTROL)
    if options.unseen is not None and options.unseen.control_every is not None:
        raise ValueError(f"control_every={options.unseen.control_every} would be ignored: there are no branches")
    network = open_network(source, which=options.which, unseen=options.unseen)
    inner = None
    if network.adapter:
        if options.inner is None:
            raise ValueError(
                f"{source.path} holds a LoRA adapter among its weights: say whether to merge, extract or drop it"
            )
        alpha = NVIDIA_ALPHA if options.lora_alpha is None else options.lora_alpha
        inner = adapter_of(network.adapter, alpha=alpha, where=str(source.path))
        if options.inner == "extract":
            _unused(options, "an extracted adapter", "adapter", "unseen", "keep_actions", "max_shard")
            return _adapter(inner, source, destination, to, options, overwrite, watch)
    if inner is None or options.inner == "drop":
        _unused(options, "these weights", "lora_alpha")
    if not network.adapter:
        _unused(options, "a network without an adapter among its weights", "inner")
    weights = network.weights
    if inner is not None and options.inner == "merge":
        weights = merge(weights, inner)
    if options.adapter is not None:
        weights = merge(weights, open_adapter(open_source(options.adapter)))
    if to != "diffusers":
        _unused(options, f"the format {to}", "keep_actions")
    if to in ("nvidia", "nvidia-dcp"):
        _unused(options, f"the format {to}", "max_shard")
    target = destination / "transformer" if to == "diffusers" else destination
    weights = _prepared(weights, target, source.path, options, overwrite, watch)
    network = Network(network.config, weights)
    if to == "nvidia":
        save_nvidia(network, target)
    elif to == "nvidia-dcp":
        save_dcp(network, target)
    elif to == "diffusers":
        save_diffusers(network, target, max_shard=options.max_shard, keep_actions=options.keep_actions)
    else:
        save_ours(network, target, max_shard=options.max_shard)
    return Converted("network", target, len(weights), total_bytes(weights))


def _control(
    source: Source, destination: Path, to: Format, options: Options, overwrite: bool, watch: Watch | None
) -> Converted:
    _unused(options, "control branches", "adapter", "inner", "lora_alpha", "keep_actions")
    if not is_branch(source):
        _unused(options, "branches with their transformer", "base")
    base = None if options.base is None else open_source(options.base)
    controls = open_control(source, base=base, kinds=options.controls, which=options.which, unseen=options.unseen)
    if to in ("nvidia", "nvidia-dcp"):
        _unused(options, f"the format {to}", "max_shard")
    if to == "diffusers":
        names = ["controlnet"] if len(controls.branches) == 1 else [f"controlnet_{kind}" for kind in controls.branches]
        targets = [destination / name for name in ("transformer", *names)]
    else:
        targets = [destination]
    for target in targets:
        _check_target(target, source.path, options, overwrite, inside=("dit", "controls"))
    flat = _as_asked(controls.flat(), targets[0], options, watch)
    controls = controls.refilled(flat)
    if to == "ours":
        save_controls(controls, destination, max_shard=options.max_shard)
    elif to == "diffusers":
        save_controls_diffusers(controls, destination, max_shard=options.max_shard)
    else:
        save_controls_nvidia(controls, destination, distributed=to == "nvidia-dcp")
    return Converted("control", destination, len(flat), total_bytes(flat))


def _adapter(
    adapter: Adapter,
    source: Source,
    destination: Path,
    to: Format,
    options: Options,
    overwrite: bool,
    watch: Watch | None,
) -> Converted:
    if to == "nvidia-dcp":
        raise ValueError("NVIDIA's trainer has no distributed checkpoint of an adapter alone: write it to nvidia (.pt)")
    weights = _prepared(adapter.weights, destination, source.path, options, overwrite, watch)
    save = {"nvidia": save_nvidia_lora, "diffusers": save_diffusers_lora, "ours": save_peft}[to]
    save(replace(adapter, weights=weights), destination)
    return Converted("adapter", destination, len(weights), total_bytes(weights))


def _vae(
    source: Source, destination: Path, to: Format, options: Options, overwrite: bool, watch: Watch | None
) -> Converted:
    if to not in ("nvidia", "diffusers"):
        raise ValueError(f"a VAE is read in NVIDIA's and in diffusers' format; there is none called {to}")
    _unused(options, "a VAE", *CONTROL, "adapter", "inner", "lora_alpha", "which", "unseen", "keep_actions")
    config, weights = open_vae(source)
    target = destination / "vae" if to == "diffusers" else destination
    weights = _prepared(weights, target, source.path, options, overwrite, watch)
    if to == "nvidia":
        _unused(options, "the format nvidia", "max_shard")
        save_vae_nvidia(config, weights, target)
    else:
        save_vae_diffusers(config, weights, target, max_shard=options.max_shard)
    return Converted("vae", target, len(weights), total_bytes(weights))


_WRITTEN = {".json", ".safetensors", ".distcp", ".md"}
"""Suffixes of what a folder may hold that is overwritten."""


def _prepared(
    weights: Weights, target: Path, source: Path, options: Options, overwrite: bool, watch: Watch | None
) -> Weights:
    """The weights as they are to be written to ``target``, once that is known to be possible."""
    _check_target(target, source, options, overwrite)
    return _as_asked(weights, target, options, watch)


def _check_target(
    target: Path, source: Path, options: Options, overwrite: bool, *, inside: tuple[str, ...] = ()
) -> None:
    """Refuse to overwrite what is read, what was not meant, and what is no checkpoint (with folders ``inside``)."""
    if target.exists() and not overwrite:
        raise ValueError(f"{target} exists: give another destination, or ask to overwrite it")
    for read in (source, *(Path(given) for given in (options.adapter, options.base) if given is not None)):
        if target.resolve() in (read.resolve(), *read.resolve().parents):
            raise ValueError(f"{target} holds {read}, which is read: give another destination")
    if target.is_dir():
        for part in target.iterdir():
            if part.suffix not in _WRITTEN and part.name not in (".metadata", *inside):
                raise ValueError(f"{target} holds {part.name!r}, which is no part of a checkpoint: it stays as it is")


def _as_asked(weights: Weights, target: Path, options: Options, watch: Watch | None) -> Weights:
    """The weights in the dtype asked for, watched, once there is room for them where ``target`` is to be."""
    weights = {name: tensor.to(options.dtype) for name, tensor in weights.items()}
    total = total_bytes(weights)
    existing = next(folder for folder in (target.resolve(), *target.resolve().parents) if folder.exists())
    if (free := shutil.disk_usage(existing).free) < total:
        raise ValueError(f"{existing} has {free / 1e9:.1f} GB free, {total / 1e9:.1f} are needed")
    return weights if watch is None else watched(weights, lambda nbytes: watch(nbytes, total))


def _unused(options: Options, subject: str, *names: str) -> None:
    """Refuse options that say nothing about ``subject``."""
    for name in names:
        if (value := getattr(options, name)) != getattr(Options(), name):
            raise ValueError(f"{name}={value} would be ignored for {subject}")
