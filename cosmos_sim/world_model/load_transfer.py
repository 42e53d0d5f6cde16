"""A :class:`Transfer` from files on disk; the large networks are read when they are needed."""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from cosmos_sim.data.pretrained import find_folder, read_config, shipped
from cosmos_sim.training.device import select_device, select_dtype
from cosmos_sim.world_model.checkpoints.control import Controls, check_kind, is_branch, is_control, open_control
from cosmos_sim.world_model.checkpoints.load import controlled
from cosmos_sim.world_model.checkpoints.network import open_merged
from cosmos_sim.world_model.checkpoints.source import open_source
from cosmos_sim.world_model.control import KINDS, ControlledDiT, check_beside
from cosmos_sim.world_model.load_predict import open_encoder
from cosmos_sim.world_model.reason1 import Reason1Config
from cosmos_sim.world_model.sampler import named
from cosmos_sim.world_model.text import TextConditioner
from cosmos_sim.world_model.tiles import Tiling
from cosmos_sim.world_model.tokenizer_folder import open_tokenizer
from cosmos_sim.world_model.transfer import Transfer, TransferConfig
from cosmos_sim.world_model.transfer_folder import (
    ANNOTATOR,
    KIND,
    TransferSettings,
    is_transfer,
    read_settings,
    save_transfer,
)
from cosmos_sim.world_model.words import Words, find_words


def load_transfer(
    model: str | Path = "transfer",
    *,
    branches: Mapping[str, str | Path] | None = None,
    tokenizer: str | Path | None = None,
    text_encoder: Reason1Config | None = None,
    prompt_cache: Path | None = None,
    changes: Mapping[str, Any] | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    low_vram: bool = False,
    compiled: bool = False,
    tiling: Tiling | None = None,
) -> Transfer:
    """A Transfer world by its shipped name, folder or hub id; or one made of checkpoints in any format.

    Args:
        model: the world; or a checkpoint that ``cosmos-sim convert`` reads: of a transformer with its control branches,
            or of a transformer to which ``branches`` are given.
        branches: checkpoints of control branches by kind, beside the transformer in ``model``. NVIDIA's hold a
            transformer of their own, which is not read.
        tokenizer: the folder of the Wan2.1 VAE or of a small tokenizer; that in ``model`` when not given.
        text_encoder: for a model without an encoder in its folder: Cosmos-Reason1-7B as released when not given.
        prompt_cache: a folder for embeddings of prompts, 103 MB each as released; unused by small encoders.
        changes: fields of :class:`~cosmos_sim.world_model.transfer_folder.TransferSettings` to set otherwise than the
            world's folder (or, of checkpoints, Cosmos-Transfer2.5) has them; of a network that was trained with words
            ``size`` and ``chunk`` are needed.
        low_vram: whether the networks are on the device one after another.
        compiled: whether the networks' blocks are compiled, which takes a minute or two at the first evaluation.
        tiling: code images in tiles, for cards that cannot hold a whole one; not exact.

    Raises:
        ValueError: a file that is missing, damaged or foreign; the networks are not loaded then.
    """
    folder = find_model(model)
    place = select_device(str(device))
    kind = select_dtype(dtype, place)
    controls = open_parts(folder, branches or {}, bare=is_transfer(folder))
    base = controls.with_base().config
    codec = open_tokenizer(folder if tokenizer is None else tokenizer, tiling=tiling).cast(kind)
    encoder = open_encoder(folder, base, text_encoder, device=place)
    own = isinstance(encoder, Words)
    annotator = folder / ANNOTATOR

    def network() -> ControlledDiT:
        made = controlled(controls, device=place, dtype=kind).fuse()
        return made.compile_blocks() if compiled else made

    return Transfer(
        TransferConfig(
            dit=base,
            temporal=codec.temporal,
            spatial=codec.spatial,
            kinds=tuple(controls.branches),
            **vars(_settings(folder, own=own, changes=changes or {})),
        ),
        dit=network,
        tokenizer=lambda: codec,
        text=None if encoder is None else TextConditioner(encoder, cache=None if own else prompt_cache, keep=own),
        annotator=annotator if annotator.is_dir() else None,
        device=place,
        low_vram=low_vram,
    )


def pack_transfer(
    folder: Path,
    *,
    model: str | Path,
    branches: Mapping[str, str | Path] | None = None,
    tokenizer: str | Path | None = None,
    annotator: Path | None = None,
    changes: Mapping[str, Any] | None = None,
    sampling: Mapping[str, Any] | None = None,
    bare: bool = False,
    dtype: torch.dtype | None = None,
) -> None:
    """Write one folder of all that a Transfer world needs, out of what training exported or of other checkpoints.

    Args:
        model, branches, tokenizer, changes: as of :func:`load_transfer`.
        annotator: folder of the annotator that is to lie in it; that in ``model``, if there is one, when not given.
        sampling: fields of the sampling to set otherwise.
        bare: whether it is to have no branches: a world that goes on from frames and text alone.
        dtype: to write the networks in; as they are when not given.

    Raises:
        ValueError: as :func:`load_transfer`; or ``folder`` exists, or no annotator is where one should be.
    """
    if folder.exists():
        raise ValueError(f"{folder} exists: give another folder, or remove it")
    if annotator is not None:
        read_config(annotator, ANNOTATOR)
    source = find_model(model)
    controls = open_parts(source, branches or {}, bare=bare)
    words = find_words(source)
    settings = _settings(source, own=words is not None, changes=changes or {})
    settings = replace(settings, sampling=replace(settings.sampling, **(sampling or {})))
    codec = open_tokenizer(source if tokenizer is None else tokenizer)
    TransferConfig(
        dit=controls.with_base().config,
        temporal=codec.temporal,
        spatial=codec.spatial,
        kinds=tuple(controls.branches),
        **vars(settings),
    )
    found = annotator or (source / ANNOTATOR if (source / ANNOTATOR).is_dir() else None)
    save_transfer(settings, controls, codec, folder, words=words, annotator=found, dtype=dtype)


def find_model(model: str | Path) -> Path:
    """Where a world or a checkpoint lies, given its shipped name, its path, or a hub id.

    Raises:
        ValueError: there is none; the message suggests the nearest shipped name.
    """
    path = Path(model)
    return path if path.exists() and str(model) not in shipped(KIND) else find_folder(model, KIND)


def open_parts(model: Path, branches: Mapping[str, str | Path], *, bare: bool = False) -> Controls:
    """The transformer in ``model`` with its control branches, or with ``branches``, in the order of ``KINDS``.

    No data is read yet.

    Raises:
        ValueError: there are no branches, though it is not to be ``bare``, or one was made for another transformer.
    """
    source = open_source(model)
    if is_branch(source):
        raise ValueError(f"{model} is a control branch alone: give its transformer as the model, and it as a branch")
    if not branches:
        if not is_control(source):
            if bare:
                return Controls({}, open_merged(source))
            raise ValueError(f"{model} holds no control branches: give them, as --branches edge=FOLDER ...")
        controls = open_control(source)
    elif is_control(source):
        raise ValueError(f"the branches {', '.join(branches)} would stand beside those that {model} holds")
    else:
        opened = {kind: open_control(open_source(path), base=source, kinds=[kind]) for kind, path in branches.items()}
        controls = Controls({kind: one.branches[kind] for kind, one in opened.items()}, open_merged(source))
    for kind, branch in controls.branches.items():
        check_kind(kind)
        check_beside(controls.with_base().config, branch.base, f"the {kind} branch")
    return replace(controls, branches={kind: controls.branches[kind] for kind in KINDS if kind in controls.branches})


def _settings(folder: Path, *, own: bool, changes: Mapping[str, Any]) -> TransferSettings:
    """Those of a world's folder, or of Cosmos-Transfer2.5, with changes.

    Args:
        own: whether the model has a text encoder of its own, as no released one has: what those are made for, and their
            negative prompt, say nothing about it.

    Raises:
        ValueError: an unknown change, or a model with its own text encoder whose size or chunk nothing says.
    """
    known = [field.name for field in fields(TransferSettings)]
    for name in changes:
        named(dict.fromkeys(known), name, "setting")
    settings = read_settings(folder) if (packed := is_transfer(folder)) else TransferSettings()
    if own and not packed:
        if missing := [name for name in ("size", "chunk") if name not in changes]:
            raise ValueError(f"{folder} is no released network: say the {' and '.join(missing)} that it was trained at")
        settings = replace(settings, negative_prompt=None)
    if "size" in changes:  # the other sizes are those of the released model
        settings = replace(settings, sizes=())
    return replace(settings, **changes)
