"""``cosmos-sim train policy``."""

from pathlib import Path
from typing import Annotated, Any

import tyro

from cosmos_sim.training import TrainConfig

DEFAULT = TrainConfig(steps=4000, lr=1e-3, weight_decay=1e-4, warmup=200, final_lr=0.02, ema=0.995, eval_every=2000)


def policy(
    *,
    data: Annotated[tuple[str, ...], tyro.conf.arg(metavar="DATASET [DATASET ...]")],
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    shares: tuple[float, ...] = (),
    kind: str = "diffusion",
    language: bool = False,
    demonstrations: int | None = None,
    all_episodes: bool = False,
    skills: tuple[str, ...] = (),
    tail: int = 2,
    cameras: tuple[str, ...] = (),
    image: str = "cnn",
    resolution: int | None = None,
    crop: int | None = None,
    image_augmentation: str | None = None,
    batch_size: int = 64,
    train: Annotated[TrainConfig, tyro.conf.arg(name="")] = DEFAULT,
) -> None:
    """Train a policy on the demonstrations of LeRobot datasets, recorded or imagined.

    The policy is at DIR/export when the command ends; a command that was stopped continues.

    Args:
        data: Each a folder, the name of a dataset that LeRobot recorded on this machine, or a hub id.
        out: Where checkpoints, curves and, at the end, ``export`` go.
        shares: How often each dataset's steps are learned from, relative to the others': 1 1 takes those of two
            datasets equally often. All steps alike by default.
        kind: diffusion or regression.
        language: The policy does what it is told: it learns from the episodes' task texts.
        demonstrations: How many episodes to learn from, the first that qualify; all of them by default. Of several
            datasets this and SKILLS are about the first.
        all_episodes: Learn from episodes that do not succeed or are not known to, and from rejected dreams, too.
        skills: Learn from episodes of these scripted skills only (datasets of ``cosmos-sim collect``).
        tail: Steps after the first success that are still imitated.
        cameras: Which cameras the policy sees; all of the dataset's by default.
        image: How images are encoded: cnn or vit.
        resolution: Side in pixels that images are resized to.
        crop: Side in pixels of the random part that is seen.
        image_augmentation: ``standard`` changes images at random while training: brightness, contrast, saturation, hue,
            gamma, salt and pepper, histogram, blur and sharpness.
        batch_size: Observations per step.
        train: How to train.
    """
    from cosmos_sim.cli.train._provenance import command
    from cosmos_sim.policies.demonstrations import Selection
    from cosmos_sim.policies.image_augmentation import find_augmentation
    from cosmos_sim.policies.recipe import policy_recipe
    from cosmos_sim.training import train as run
    from cosmos_sim.training.provenance import git_commit

    encoder = {"image": image, "resolution": resolution, "crop": crop}
    first: dict[str, Any] = {"demonstrations": demonstrations, "skills": skills}
    recipe = policy_recipe(
        [
            Selection(name, successful=not all_episodes, tail=tail, **({} if place else first))
            for place, name in enumerate(data)
        ],
        family=kind,
        language=language,
        cameras=cameras or None,
        shares=shares or None,
        encoder={name: value for name, value in encoder.items() if value is not None},
        image_augmentation=None if image_augmentation is None else find_augmentation(image_augmentation),
        batch_size=batch_size,
        seed=train.seed,
        provenance={
            "steps": train.steps,
            "learning_rate": train.lr,
            "commit": git_commit(),
            "command": command(),
        },
    )
    figures = run(recipe, train, out)
    print("\n".join(f"{name:24s} {value:9.4f}" for name, value in figures.items()))
    print(f"policy written to {out / 'export'}: cosmos-sim evaluate --policies {out / 'export'}")
