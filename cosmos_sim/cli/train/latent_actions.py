"""``cosmos-sim train latent-actions``."""

from pathlib import Path
from typing import Annotated

import tyro

from cosmos_sim.training import TrainConfig

DEFAULT = TrainConfig(
    steps=2500, lr=1e-3, weight_decay=1e-4, warmup=100, final_lr=0.02, ema=0.99, save_every=500, eval_every=500
)


def latent_actions(
    *,
    data: tuple[Path, ...],
    out: Path,
    cache: Path | None = None,
    cameras: tuple[str, ...] = (),
    videos: tuple[Path, ...] = (),
    labels: float = 0.01,
    apart: int = 3,
    tokens: int = 4,
    levels: tuple[int, ...] = (7, 5, 5),
    painted: int = 16,
    chunk: int = 8,
    resolution: int = 64,
    width: int = 16,
    dim: int = 128,
    blocks: int = 3,
    translation: int | None = None,
    pairs: int = 64,
    batch_size: int = 8,
    train: Annotated[TrainConfig, tyro.conf.arg(name="")] = DEFAULT,
) -> None:
    """Train latent actions, which learn from videos without actions and read actions after a few labelled episodes.

    They are at OUT/export when the command ends, and serve wherever inverse dynamics do.

    Args:
        data: LeRobot datasets with the actions to be read; all of one action space.
        out: Where checkpoints, curves and, at the end, ``export`` go; a started run resumes.
        cache: Where decoded frames are kept; beside ``out`` by default.
        cameras: Which cameras they see; all of the first dataset's by default.
        videos: More LeRobot datasets with these cameras, of other robots or without any actions.
        labels: Share of the episodes of ``data`` whose actions may be seen.
        apart: They learn from frames of up to so many steps between.
        tokens: Codes that tell what changed between two frames.
        levels: Values that each number of a code can take; odd.
        painted: Side in pixels of the frames that are repainted by the codes alone.
        chunk: Actions that are read together, off one frame more.
        resolution: Side in pixels that images are resized to.
        width: Channels of the first convolution.
        dim: Size of what each eye tells, and of the token that each action is.
        blocks: Transformer blocks over the actions of a chunk.
        translation: How many of an action's first values are a translation; 3, or all of fewer, by default.
        pairs: Pairs of frames per step, of all episodes.
        batch_size: Chunks with actions per step.
        train: How to train.
    """
    from cosmos_sim.cli.train._inverse_dynamics import train_inverse_dynamics
    from cosmos_sim.data.lerobot import dataset_info
    from cosmos_sim.world_model.latent_actions import LatentActionsConfig
    from cosmos_sim.world_model.recipes.latent_actions import LatentActionsRecipe, LatentActionsRecipeConfig

    info = dataset_info(data[0])
    config = LatentActionsRecipeConfig(
        data=tuple(str(path) for path in data),
        net=LatentActionsConfig(
            tuple(cameras or info.cameras),
            info.action_dim,
            chunk=chunk,
            resolution=resolution,
            width=width,
            dim=dim,
            blocks=blocks,
            apart=apart,
            tokens=tokens,
            levels=levels,
            painted=painted,
        ),
        labels=labels,
        translation=min(3, info.action_dim) if translation is None else translation,
        batch_size=batch_size,
        videos=tuple(str(path) for path in videos),
        pairs=pairs,
        seed=train.seed,
    )
    train_inverse_dynamics(LatentActionsRecipe, config, train, out, cache=cache, videos=videos)
