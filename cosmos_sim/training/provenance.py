"""What identifies a run, and the refusal to continue it as another."""

import subprocess
from pathlib import Path
from typing import Any

import torch

from cosmos_sim.training.config import CHANGEABLE, TrainConfig, difference, plain
from cosmos_sim.training.device import computes_in_bf16
from cosmos_sim.training.layout import Layout
from cosmos_sim.training.recipe import Recipe


def git_commit() -> str | None:
    """The commit of this package's source, ``+changes`` added where files differ from it; ``None`` if unknown."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def provenance(recipe: Recipe, config: TrainConfig) -> dict[str, Any]:
    """What identifies a run: the recipe's name and config, the training config, commit and torch version."""
    return {
        "recipe": recipe.name,
        "recipe_config": plain(recipe.config),
        "train_config": plain(config),
        "commit": git_commit(),
        "torch": torch.__version__,
    }


def resolved(config: TrainConfig, layout: Layout) -> dict[str, Any]:
    """What the options that depend on the machine came to."""
    device = layout.device
    return {
        "device": f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device),
        "precision": "bf16" if computes_in_bf16(device, config.autocast) else "fp32",
        "threads": config.threads or torch.get_num_threads(),
        "processes": layout.size,
        "shard": layout.config.shards(layout.size),
    }


def check_same_run(old: dict[str, Any], new: dict[str, Any], where: Path) -> None:
    """Refuse to go on with another recipe or config than a run began with (see ``config.CHANGEABLE``).

    Raises:
        ValueError: naming the first field that differs and both values.
    """
    for part in ("recipe", "recipe_config", "train_config"):
        was, now = old[part], new[part]
        if part == "train_config":
            was, now = ({key: item for key, item in d.items() if key not in CHANGEABLE} for d in (was, now))
        found = difference(was, now, "" if part == "recipe_config" else part.removesuffix("_config"))
        if found:
            name, before, after = found
            raise ValueError(
                f"{where} holds a run with {name}={before!r}, but {name}={after!r} is asked for now: "
                f"ask for the same again, or train into another folder"
            )
