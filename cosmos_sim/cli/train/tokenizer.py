"""``cosmos-sim train tokenizer``."""

from pathlib import Path
from typing import Annotated

import tyro

from cosmos_sim.training import TrainConfig
from cosmos_sim.world_model.tokenizer import TokenizerConfig

DEFAULT = TrainConfig(steps=6000, lr=1e-3, warmup=200, final_lr=0.02, ema=0.998, save_every=500, eval_every=1000)


def tokenizer(
    data: Path,
    out: Path,
    cache: Path | None = None,
    cameras: tuple[str, ...] = (),
    batch_size: int = 32,
    foreground: float = 5.0,
    kl: float = 1e-4,
    init: str | None = None,
    decoder_only: bool = False,
    model: Annotated[TokenizerConfig, tyro.conf.arg(name="")] = TokenizerConfig(),  # noqa: B008
    train: Annotated[TrainConfig, tyro.conf.arg(name="")] = DEFAULT,
) -> None:
    """Train a tokenizer on the frames of a LeRobot dataset.

    Args:
        data: the dataset's folder.
        out: where checkpoints, curves, sample videos and, at the end, ``export`` go; a started run resumes.
        cache: where decoded frames are kept; beside ``out`` by default.
        cameras: which cameras to learn; all by default.
        batch_size: frames per step.
        foreground: weight of pixels that differ from their camera's median image.
        kl: weight of the latent's divergence from a standard normal.
        init: a trained tokenizer to go on from.
        decoder_only: keep its encoder, so that worlds trained on its latents stay valid.
        model: sizes of the tokenizer.
        train: how to train.
    """
    from cosmos_sim.cli.train._provenance import provenance
    from cosmos_sim.data.store import EpisodeStore
    from cosmos_sim.training import train as run
    from cosmos_sim.world_model.recipes.tokenizer import TokenizerRecipe, TokenizerRecipeConfig

    store = EpisodeStore(data, cache=cache or out.parent / "cache", cameras=cameras or None, progress=True)
    config = TokenizerRecipeConfig(
        data=str(data),
        tokenizer=model,
        batch_size=batch_size,
        foreground=foreground,
        kl=kl,
        init=init,
        decoder_only=decoder_only,
    )
    figures = run(
        TokenizerRecipe(config, store, seed=train.seed, provenance=provenance(data, store, train)), train, out
    )
    print("\n".join(f"{name:28s} {value:8.2f}" for name, value in figures.items()))
    print(f"tokenizer written to {out / 'export'}")
