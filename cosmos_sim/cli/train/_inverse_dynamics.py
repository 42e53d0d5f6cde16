"""How ``train idm`` and ``train latent-actions`` run."""

from collections.abc import Sequence
from pathlib import Path

from cosmos_sim.cli.train._provenance import command
from cosmos_sim.data.store import EpisodeStore
from cosmos_sim.training import TrainConfig
from cosmos_sim.training import train as run
from cosmos_sim.training.provenance import git_commit
from cosmos_sim.world_model.recipes.inverse_dynamics import InverseDynamicsRecipe, InverseDynamicsRecipeConfig


def train_inverse_dynamics(
    recipe: type[InverseDynamicsRecipe],
    config: InverseDynamicsRecipeConfig,
    train: TrainConfig,
    out: Path,
    *,
    cache: Path | None,
    videos: Sequence[Path] = (),
) -> None:
    """Train either kind on ``config.data``, and on ``videos`` without their actions, and tell its figures."""
    data, cache = [*map(Path, config.data), *videos], cache or out.parent / "cache"
    stores = [
        EpisodeStore(path, cache=cache, cameras=config.net.cameras, videos_alone=alone, progress=True)
        for path, alone in zip(data, [False] * len(config.data) + [True] * len(videos), strict=True)
    ]
    made = {
        "data": ", ".join(f"{path.name} ({len(store)} episodes)" for path, store in zip(data, stores, strict=True)),
        "command": command(),
        "commit": git_commit(),
    }
    for name, value in run(recipe(config, stores, provenance=made), train, out).items():
        print(f"{name:<20} {value:.3f}")
    print(f"{recipe.name} written to {out / 'export'}")
