"""``cosmos-sim train annotator``."""

from pathlib import Path
from typing import Annotated

import tyro

from cosmos_sim.training import TrainConfig

DEFAULT = TrainConfig(
    steps=3000, lr=2e-3, weight_decay=1e-4, warmup=100, final_lr=0.02, ema=0.99, save_every=500, eval_every=1000
)


def annotator(
    *,
    data: tuple[Path, ...],
    out: Path,
    cameras: tuple[str, ...] = (),
    widths: tuple[int, ...] = (8, 16, 32, 64, 64),
    batch_size: int = 16,
    per_episode: int = 8,
    tint: float = 0.2,
    damage: float = 0.5,
    depth: float = 1.0,
    train: Annotated[TrainConfig, tyro.conf.arg(name="")] = DEFAULT,
) -> None:
    """Train a small network that reads depth and segments off frames, on a simulator's true annotations.

    The annotator is at OUT/export when the command ends. A Transfer world whose folder holds it as ``annotator``
    judges by it whether what was generated still shows what it was to show.

    Args:
        data: LeRobot datasets recorded with ``cosmos-sim collect --annotate``.
        out: Where checkpoints, curves, sample videos and, at the end, ``export`` go; a started run resumes.
        cameras: Which cameras to learn; all of the first dataset's by default.
        widths: Channels at the full resolution, at a half of it, a quarter and so on.
        batch_size: Frames per step.
        per_episode: Frames of each episode and camera that are held in memory, evenly spread.
        tint: Largest change of a colour channel's contrast and brightness.
        damage: Share of the samples that lose detail and get noise, as frames do that were generated.
        depth: Weight of the depth's error beside the classes'.
        train: How to train.
    """
    from cosmos_sim.cli.train._provenance import of_run
    from cosmos_sim.data.annotated import load_annotated
    from cosmos_sim.training import train as run
    from cosmos_sim.world_model.annotator import AnnotatorConfig
    from cosmos_sim.world_model.recipes.annotator import AnnotatorRecipe, AnnotatorRecipeConfig

    frames = load_annotated(data, cameras=cameras, per_episode=per_episode, progress=True)
    config = AnnotatorRecipeConfig(
        data=tuple(str(path) for path in data),
        annotator=AnnotatorConfig(frames.names, widths),
        batch_size=batch_size,
        per_episode=per_episode,
        tint=tint,
        damage=damage,
        depth=depth,
        seed=train.seed,
    )
    made = {
        "data": ", ".join(path.name for path in data),
        "frames": len(frames.train_rows) * len(frames.frames),
        **of_run(train),
    }
    figures = run(AnnotatorRecipe(config, frames, provenance=made), train, out)
    print("\n".join(f"{name:24s} {value:8.4f}" for name, value in figures.items()))
    print(f"annotator written to {out / 'export'}")
