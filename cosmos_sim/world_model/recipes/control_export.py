"""What training of a control branch leaves: the branch's folder, for the network it was trained beside."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cosmos_sim.world_model.checkpoints.control import Branch
from cosmos_sim.world_model.checkpoints.control_write import save_branch
from cosmos_sim.world_model.checkpoints.stored import StoredTensor
from cosmos_sim.world_model.recipes.control_config import ControlRecipeConfig
from cosmos_sim.world_model.recipes.predict_card import making
from cosmos_sim.world_model.recipes.predict_export import Stream


def export(
    folder: Path,
    shapes: Mapping[str, torch.Size],
    tensors: Iterator[tuple[str, Tensor]],
    config: ControlRecipeConfig,
    provenance: Mapping[str, Any],
) -> None:
    """Write a branch's folder, with a card.

    Args:
        shapes: of the weights of the controlled network, whole, in the order of the tensors.
        tensors: its weights; all of them are asked for.
    """
    start = f"branches.{config.control}."
    stream = Stream((name, tensor) for name, tensor in tensors if name.startswith(start))
    weights = {
        name.removeprefix(start): StoredTensor(tuple(shape), torch.float32, partial(stream.read, name))
        for name, shape in shapes.items()
        if name.startswith(start)
    }
    try:
        save_branch(config.control, Branch(config.branch, config.dit, weights), folder)
        (folder / "README.md").write_text(card(config, provenance))
    finally:
        stream.finish()


def card(config: ControlRecipeConfig, provenance: Mapping[str, Any]) -> str:
    """Markdown: what the branch is, beside what it stands, how it was made, and what it gains on held-out clips."""
    dit, branch, stage = config.dit, config.branch, config.stage
    sizes = ", ".join(f"{height}x{width}" for height, width in stage.sizes)
    lines = [
        "---",
        "library_name: cosmos-sim",
        "tags: [robotics, world-model, video-generation, control]",
        "---",
        "",
        f"# Cosmos-Transfer2.5: the {config.control} branch, {branch.blocks} blocks of width {dit.model_channels}",
        "",
        f"To be read beside the network that it was trained with, `{config.init}`, which it needs unchanged.",
        "",
        "| | |",
        "|---|---|",
        f"| frames | {stage.frames} of {sizes} |",
        f"| hints go to blocks | {', '.join(map(str, branch.places))} of {dit.num_blocks} |",
        f"| given latents | {', '.join(f'{k}: {share:g}' for k, share in enumerate(stage.known) if share)} |",
        f"| text | {'none' if dit.context_dim is None else config.text or 'the zero embedding alone'} |",
        f"| control videos of a clip | {config.variants} at most |",
        f"| shift of times | {stage.shift:g} |",
        "",
        *making(provenance),
        "Figures that begin with without_ are those of the network alone, with the same noise.",
        "",
    ]
    return "\n".join(lines)
