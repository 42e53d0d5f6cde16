"""What the trainings of large networks have in common: their stages, and who reads their captions."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cosmos_sim.world_model.dit import DiTConfig
    from cosmos_sim.world_model.recipes.predict_text import Captions
    from cosmos_sim.world_model.recipes.stages import Stage
    from cosmos_sim.world_model.words import Words

STAGE, NETWORK = "text2world", "predict2.5-2b"


def stage_defaults(tokens: Sequence[str]) -> dict[str, Any]:
    """What the options depend on: how the stage and the network that ``tokens`` name are trained."""
    from cosmos_sim.world_model.recipes.stages import training

    return {"train": training(option(tokens, "--stage", STAGE), option(tokens, "--network", NETWORK))}


def option(tokens: Sequence[str], name: str, default: str) -> str:
    """The last value of the option ``name`` among ``tokens``."""
    found = default
    for token, after in zip(tokens, [*tokens, ""][1:], strict=True):
        if token == name and after:
            found = after
        elif token.startswith(f"{name}="):
            found = token.partition("=")[2]
    return found


def changed_stage(name: str, size: str | None, **changes: Any) -> "Stage":
    """The stage of that name with some things otherwise; what is ``None`` stays."""
    from cosmos_sim.world_model.recipes.stages import shift_for, stage
    from cosmos_sim.world_model.request import parse_resolution
    from cosmos_sim.world_model.rope import resolution_ratio

    found = stage(name)
    changes = {field: value for field, value in changes.items() if value is not None}
    one = parse_resolution(size)
    if one is not None:
        changes = {"sizes": (one,), "shift": shift_for(one), **changes}
        if found.rope_ratio is not None:
            changes["rope_ratio"] = resolution_ratio(*one)
    if changes.get("frames") == 1 and not found.actions:
        changes = {"images": 1.0, **changes}
    return replace(found, **changes)


def check_size(network: str, checkpoint: Path | None, found: "DiTConfig") -> None:
    """Learning rates go by the network's name: refuse another one than the checkpoint holds."""
    from cosmos_sim.world_model.dit import PRESETS

    widths = {name: config.model_channels for name, config in PRESETS.items()}
    if checkpoint is not None and found.model_channels != widths.get(network, found.model_channels):
        near = [name for name, width in widths.items() if width == found.model_channels] or ["small"]
        raise ValueError(f"{checkpoint} is {found.model_channels} wide, which {network} is not: say network {near[0]}")


def embedded(
    encoder: "str | Words | None", captions: Sequence[str], network: "DiTConfig", *, cache: Path, device: str
) -> "Captions | None":
    """What the network reads of captions: encoded by words or, now, by the Cosmos-Reason1 of that name."""
    from cosmos_sim.world_model.recipes.predict_text import reason1_captions, words_captions

    if encoder is None:
        return None
    width = network.context_in_dim or network.context_dim
    if not isinstance(encoder, str):
        return words_captions(encoder, captions, width=width)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    return reason1_captions(
        encoder, captions, width=width, cache=cache.expanduser(), device=device, processes=processes
    )
