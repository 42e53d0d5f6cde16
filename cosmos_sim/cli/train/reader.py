"""``cosmos-sim train reader``."""

from pathlib import Path
from typing import Annotated

import tyro

from cosmos_sim.training import TrainConfig

DEFAULT = TrainConfig(
    steps=3000, lr=1.5e-3, weight_decay=1e-4, warmup=100, final_lr=0.02, ema=0.99, save_every=250, eval_every=1000
)


def reader(
    *,
    data: tuple[Path, ...] = (),
    twin: str | None = None,
    wander: int | None = None,
    out: Path,
    cache: Path | None = None,
    cameras: tuple[str, ...] = (),
    resolution: int = 128,
    width: int = 16,
    batch_size: int = 32,
    train: Annotated[TrainConfig, tyro.conf.arg(name="")] = DEFAULT,
) -> None:
    """Train a reader of the hand's position off real frames, which imagined frames are then measured with.

    The reader is at OUT/export when the command ends: ``cosmos-sim inspect --reader OUT/export``. What it has not seen
    it cannot read, and demonstrations alone leave most of the space around the start unvisited.

    Args:
        data: LeRobot datasets whose first three state values are a position in metres.
        twin: A task of the simulator (such as Lift) in which to record aimless motion all around the start, too.
        wander: How many episodes of it; 100 by default.
        out: Where checkpoints, curves and, at the end, ``export`` go; a started run resumes.
        cache: Where decoded frames are kept; beside ``out`` by default.
        cameras: Which cameras it sees; all of the first dataset's by default.
        resolution: Side in pixels that images are resized to.
        width: Channels of the first convolution.
        batch_size: Observations per step.
        train: How to train.
    """
    from cosmos_sim.cli.train._provenance import command
    from cosmos_sim.data.lerobot import dataset_info
    from cosmos_sim.data.store import EpisodeStore
    from cosmos_sim.evaluation.pose_reader import PoseReaderConfig
    from cosmos_sim.evaluation.pose_recipe import PoseRecipe, PoseRecipeConfig
    from cosmos_sim.evaluation.wander import record_wandering
    from cosmos_sim.training import train as run
    from cosmos_sim.training.provenance import git_commit

    if wander is not None and twin is None:
        raise ValueError(f"wander={wander} would be ignored: no twin to wander in")
    if twin is not None:
        data = (*data, record_wandering(twin, 100 if wander is None else wander, out / "wander"))
    if not data:
        raise ValueError("nothing to learn from: give data or a twin")
    info = dataset_info(data[0])
    config = PoseRecipeConfig(
        data=tuple(str(path) for path in data),
        reader=PoseReaderConfig(tuple(cameras or info.cameras), resolution, width, dim=min(3, info.state_dim)),
        batch_size=batch_size,
        seed=train.seed,
    )
    cache = cache or out.parent / "cache"
    stores = [EpisodeStore(path, cache=cache, cameras=cameras or None, progress=True) for path in data]
    made = {
        "data": ", ".join(f"{path.name} ({len(store)} episodes)" for path, store in zip(data, stores, strict=True)),
        "command": command(),
        "commit": git_commit(),
    }
    figures = run(PoseRecipe(config, stores, provenance=made), train, out)
    print(
        f"off by {figures['median_mm']:.1f} mm (median), 90% below {figures['p90_mm']:.1f} mm, on held-out real frames"
    )
    print(f"reader written to {out / 'export'}: cosmos-sim inspect --reader {out / 'export'}")
