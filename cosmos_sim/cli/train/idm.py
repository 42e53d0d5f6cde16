"""``cosmos-sim train idm``."""

from pathlib import Path
from typing import Annotated

import tyro

from cosmos_sim.training import TrainConfig

DEFAULT = TrainConfig(
    steps=4000, lr=1e-3, weight_decay=1e-4, warmup=100, final_lr=0.02, ema=0.99, save_every=500, eval_every=1000
)


def idm(
    *,
    data: tuple[Path, ...],
    out: Path,
    cache: Path | None = None,
    cameras: tuple[str, ...] = (),
    frames: bool = True,
    state: bool = False,
    chunk: int = 8,
    resolution: int = 128,
    width: int = 16,
    dim: int = 128,
    blocks: int = 3,
    translation: int | None = None,
    labels: float = 1.0,
    batch_size: int = 16,
    train: Annotated[TrainConfig, tyro.conf.arg(name="")] = DEFAULT,
) -> None:
    """Train inverse dynamics, which read the actions off a video's frames.

    They are at OUT/export when the command ends. Imagined videos get their actions from them.

    Args:
        data: LeRobot datasets with actions; all of one action space.
        out: Where checkpoints, curves and, at the end, ``export`` go; a started run resumes.
        cache: Where decoded frames are kept; beside ``out`` by default.
        cameras: Which cameras they see; all of the first dataset's by default.
        frames: See frames; without, ``--no-frames --state`` reads proprioception alone, and learns in minutes.
        state: See proprioception as well, which a world that is instructed imagines with its frames.
        chunk: Actions that are read together, off one frame more.
        resolution: Side in pixels that images are resized to.
        width: Channels of the first convolution.
        dim: Size of the token that each action is.
        blocks: Transformer blocks over the actions of a chunk.
        translation: How many of an action's first values are a translation; 3, or all of fewer, by default.
        labels: Share of the episodes whose actions may be seen, to compare with latent actions.
        batch_size: Chunks per step.
        train: How to train.
    """
    from cosmos_sim.cli.train._inverse_dynamics import train_inverse_dynamics
    from cosmos_sim.data.lerobot import dataset_info
    from cosmos_sim.world_model.inverse_dynamics import InverseDynamicsConfig
    from cosmos_sim.world_model.recipes.inverse_dynamics import InverseDynamicsRecipe, InverseDynamicsRecipeConfig

    info = dataset_info(data[0])
    if not frames:
        seen = {"cameras": (cameras, ()), "resolution": (resolution, 128), "width": (width, 16)}
        for name, (given, default) in seen.items():
            if given != default:
                raise ValueError(f"{name}={given} would be ignored without frames")
    config = InverseDynamicsRecipeConfig(
        data=tuple(str(path) for path in data),
        net=InverseDynamicsConfig(
            tuple(cameras or info.cameras) if frames else (),
            info.action_dim,
            chunk=chunk,
            resolution=resolution,
            width=width,
            dim=dim,
            blocks=blocks,
            state_dim=info.state_dim if state else 0,
        ),
        translation=min(3, info.action_dim) if translation is None else translation,
        labels=labels,
        batch_size=batch_size,
        seed=train.seed,
    )
    train_inverse_dynamics(InverseDynamicsRecipe, config, train, out, cache=cache)
