"""What helps a small world: variants of one small training, each different from the base in one thing.

    python experiments/ablations.py --data runs/lift/world --tokenizer runs/lift/decoder/export --work runs/ablations

Every variant has as many training steps of as many tokens, from the same seed, and is measured on the same held-out
episodes; one that imagines several frames at once so sees several times the frames. Each is trained where the last call
stopped; finished ones cost nothing. The networks are smaller and trained for less long than the shipped one's, and one
seed each: differences of a few tenths of a dB are chance.
"""

import argparse
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cosmos_sim.data.files import new_file
from cosmos_sim.data.store import EpisodeStore
from cosmos_sim.evaluation.table import grid
from cosmos_sim.training import TrainConfig, train
from cosmos_sim.world_model.dynamics import SMALL_DIT, DynamicsConfig
from cosmos_sim.world_model.flow import TimeDistribution
from cosmos_sim.world_model.recipes.open_loop import open_loop_figures
from cosmos_sim.world_model.recipes.world import WorldRecipe, WorldRecipeConfig
from cosmos_sim.world_model.tokenizer_folder import load_tokenizer
from cosmos_sim.world_model.world import World


@dataclass(frozen=True)
class Variant:
    """One training, by what differs from the base."""

    name: str
    says: str
    recipe: dict[str, Any] = field(default_factory=dict)
    dynamics: dict[str, Any] = field(default_factory=dict)
    dit: dict[str, Any] = field(default_factory=dict)
    sampling_steps: tuple[int, ...] = (1,)


VARIANTS = (
    Variant("base", "sketch, 4 frames of noisy context, rollouts of 8, change predicted", sampling_steps=(1, 2, 4)),
    Variant("no-sketch", "the pose as numbers only", dynamics={"sketch": False}),
    Variant("no-rollouts", "single steps from real frames only", recipe={"rollouts": (1,), "stages": ()}),
    Variant("rollouts-24", "rollouts of 24 instead of 8", recipe={"rollouts": (1, 24)}),
    Variant("clean-context", "no noise on the context", recipe={"context_level": 0.0}),
    Variant("context-2", "2 frames of context", dynamics={"context": 2}),
    Variant("context-8", "8 frames of context", dynamics={"context": 8}),
    Variant(
        "action-channels",
        "actions as channels of the input",
        dit={"action_injection": "channels", "action_dim": 1},  # of a number that Dynamics knows
    ),
    Variant("drawn-times", "no share of pure noise", recipe={"times": TimeDistribution()}, sampling_steps=(1, 2, 4)),
    Variant("plain-loss", "changing pixels weigh as others", recipe={"foreground": 1.0}),
    Variant("chunk-4", "4 frames at once, rollouts of 2 such", dynamics={"chunk": 4}, recipe={"rollouts": (1, 2)}),
    Variant("plain-draw", "all windows drawn alike", recipe={"busy": 1.0}),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="where the trainings go")
    parser.add_argument("--cache", type=Path, help="decoded frames and latents; WORK/cache by default")
    parser.add_argument("--only", nargs="+", choices=[variant.name for variant in VARIANTS])
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--episodes", type=int, default=32, help="held-out episodes to measure on")
    parser.add_argument("--out", type=Path, default=Path("experiments/ablations.json"))
    arguments = parser.parse_args()

    cache = arguments.cache or arguments.work / "cache"
    store = EpisodeStore(arguments.data, cache=cache, progress=True)
    config = TrainConfig(
        steps=arguments.steps, lr=1e-3, warmup=100, final_lr=0.02, ema=0.99, eval_every=arguments.steps, threads=1
    )
    size = {"model_channels": arguments.width, "num_blocks": arguments.blocks, "num_heads": 4}
    rows = []
    for variant in VARIANTS:
        folder = arguments.work / variant.name
        if arguments.only and variant.name not in arguments.only and not (folder / "export").is_dir():
            continue
        rows += measured(
            variant, trained(variant, store, arguments.tokenizer, cache, config, size, folder), store, arguments
        )
        result = {
            "format": "cosmos-sim ablations 1",
            "training": {"steps": arguments.steps, "batch_size": 32, "seed": config.seed, **size},
            "rows": rows,
        }
        with new_file(arguments.out) as partial:
            partial.write_text(json.dumps(result, indent=2) + "\n")
    print(table(rows))


def trained(
    variant: Variant,
    store: EpisodeStore,
    tokenizer: Path,
    cache: Path,
    config: TrainConfig,
    size: dict[str, int],
    folder: Path,
) -> Path:
    """Train ``variant`` unless that is done, and return the folder of its world."""
    codec, codec_config, _ = load_tokenizer(tokenizer)
    sizes = [codec.latent_size(*camera) for camera in store.cameras.values()]
    dynamics = DynamicsConfig(
        state_dim=store.info.state_dim,
        action_dim=store.info.action_dim,
        latent_size=(sizes[0][0], sum(w for _, w in sizes)),
        sketch=True,
        dit=replace(SMALL_DIT, latent_channels=codec_config.latent_channels, **size),
    )
    base = WorldRecipeConfig(
        data=str(store.info.path),
        tokenizer=str(tokenizer),
        dynamics=replace(replace(dynamics, **variant.dynamics), dit=replace(dynamics.dit, **variant.dit)),
        times=TimeDistribution(pure_noise=0.6),
        rollouts=(1, 8),
        stages=(config.steps // 2,),
    )
    recipe = WorldRecipe(replace(base, **variant.recipe), store, codec, cache=cache, seed=config.seed)
    train(recipe, config, folder)
    return folder / "export"


def measured(variant: Variant, world: Path, store: EpisodeStore, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for every number of sampling steps."""
    episodes = [store.episode(index) for index in store.held_out[: arguments.episodes]]
    return [
        {
            "variant": variant.name,
            "says": variant.says,
            "sampling_steps": steps,
            **open_loop_figures(World.from_pretrained(world, sampling_steps=steps), episodes, steps=(1, 12, 29)),
        }
        for steps in variant.sampling_steps
    ]


def table(rows: list[dict[str, Any]]) -> str:
    """PSNR by camera and horizon, with the peer and the ceiling of the first row above."""
    names = [key for key in rows[0] if key.startswith("psnr_") and "_copy" not in key and "_ceiling" not in key]
    header = ["variant", "evaluations", *(name.removeprefix("psnr_") for name in names), "position, mm", ""]
    body = [
        [what, "", *(f"{rows[0][name.replace('/', f'_{key}/')]:.2f}" for name in names), "", ""]
        for what, key in (("first frame kept", "copy"), ("tokenizer's best", "ceiling"))
    ]
    for row in rows:
        place = next(value for key, value in row.items() if key.startswith("position_error"))
        figures = [f"{row[name]:.2f}" for name in names]
        body.append([row["variant"], str(row["sampling_steps"]), *figures, f"{1000 * place:.1f}", row["says"]])
    return grid(header, body)


if __name__ == "__main__":
    main()
