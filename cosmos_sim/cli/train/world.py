"""``cosmos-sim train world``."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from cosmos_sim.training import TrainConfig

if TYPE_CHECKING:
    from cosmos_sim.data.starts import Starts
    from cosmos_sim.types import WorldSpec

DEFAULT = TrainConfig(steps=8000, lr=6e-4, warmup=300, final_lr=0.02, ema=0.998, save_every=250, eval_every=1000)


def world(
    data: Path,
    out: Path,
    tokenizer: Path | None = None,
    init: str | None = None,
    cache: Path | None = None,
    cameras: tuple[str, ...] = (),
    width: int = 256,
    blocks: int = 6,
    heads: int = 4,
    context: int = 4,
    chunk: int = 1,
    batch_size: int = 32,
    sketch: bool = True,
    instructed: bool = False,
    rollouts: tuple[int, ...] = (1, 8, 24),
    stages: tuple[int, ...] = (),
    context_level: float = 0.2,
    pure_noise: float = 0.4,
    foreground: float = 5.0,
    busy: float = 3.0,
    horizon: int | None = None,
    twin: str | None = None,
    starts: int | None = None,
    train: Annotated[TrainConfig, tyro.conf.arg(name="")] = DEFAULT,
) -> None:
    """Train a small world on a LeRobot dataset, over a trained tokenizer.

    Args:
        data: the dataset's folder; any cameras, state and action dimensions.
        out: where checkpoints, curves, sample videos and, at the end, ``export`` go; a started run resumes.
        tokenizer: the folder that ``cosmos-sim train tokenizer`` exported.
        init: a world (shipped name or folder) to go on from, which brings its tokenizer; ``tokenizer`` may be one that
            was trained on from that.
        cache: where decoded frames and latents are kept; beside ``out`` by default.
        cameras: which cameras the world shows, all of one height; all by default.
        width: width of the transformer.
        blocks: number of its blocks.
        heads: attention heads of a block.
        context: past frames that the world remembers, beside the first.
        chunk: frames imagined at once, from as many actions; no more than it remembers.
        batch_size: rollouts trained at a time, each by one imagined chunk per training step.
        instructed: a world that takes each episode's task text in the place of actions, for ``cosmos-sim dream`` to
            imagine with; ``init`` may be one that takes actions.
        sketch: show the transformer the arm as the predicted pose alone draws it.
        rollouts: chunks imagined in a row in each part of the training.
        stages: training steps at which the second and later parts begin; parts of equal length by default.
        context_level: most noise on the context frames.
        pure_noise: share of single steps that start from pure noise.
        foreground: weight of latent pixels that change.
        busy: how much more often windows with motion are drawn.
        horizon: steps per episode that the world declares; the twin's, or 60.
        twin: a task of the simulator twin (such as Lift) whose spaces the world declares, and from whose resets it
            gets start frames; without it, spaces and start frames are the data's.
        starts: how many start frames to make with the twin, from its seeds 0, 1, ...; 32 by default.
        train: how to train.
    """
    from cosmos_sim.cli.train._provenance import provenance
    from cosmos_sim.data.pretrained import find_folder
    from cosmos_sim.data.store import EpisodeStore
    from cosmos_sim.data.word_vectors import WordsConfig
    from cosmos_sim.training import train as run
    from cosmos_sim.world_model.dynamics import SMALL_DIT, DynamicsConfig
    from cosmos_sim.world_model.flow import TimeDistribution
    from cosmos_sim.world_model.recipes.world import WorldRecipe, WorldRecipeConfig, instructed_by
    from cosmos_sim.world_model.tokenizer_folder import load_tokenizer
    from cosmos_sim.world_model.world import read_networks

    if tokenizer is None and init is None:
        raise ValueError("give --tokenizer, for a new world, or --init, a world to go on from")
    if instructed and twin is not None:
        raise ValueError(f"twin={twin!r} has spaces of actions, which a world that is instructed does not take")
    networks = None if init is None else read_networks(find_folder(init, "world"))
    if tokenizer is not None:
        codec, codec_config, codec_provenance = load_tokenizer(tokenizer)
    else:
        assert networks is not None
        codec, codec_config = networks.tokenizer, networks.config.tokenizer
        codec_provenance = networks.config.provenance.get("tokenizer", {})
    cache = cache or out.parent / "cache"
    store = EpisodeStore(data, cache=cache, cameras=cameras or None, progress=True)
    words = None
    if instructed:
        words = (networks and networks.config.words) or WordsConfig(length=32, neighbours=1, word=32)
        words = words.knowing(store.tasks)
        store = instructed_by(store, words)
    sizes = [codec.latent_size(*size) for size in store.cameras.values()]
    dynamics = DynamicsConfig(
        state_dim=store.info.state_dim,
        action_dim=store.info.action_dim,
        latent_size=(sizes[0][0], sum(w for _, w in sizes)),
        context=context,
        chunk=chunk,
        sketch=sketch,
        dit=replace(
            SMALL_DIT,
            latent_channels=codec_config.latent_channels,
            model_channels=width,
            num_blocks=blocks,
            num_heads=heads,
        ),
    )
    if starts is not None and (twin is None or starts < 1):
        raise ValueError(f"starts={starts} needs to be at least 1, and twin to name the task that makes them")
    if train.accumulate > 1:
        raise ValueError("a world's rollouts go on from step to step: instead of accumulate, raise batch_size")
    stages = stages or tuple(train.steps * part // len(rollouts) for part in range(1, len(rollouts)))
    if stages and stages[-1] >= train.steps:
        raise ValueError(f"rollouts={rollouts} would be cut short: stages={stages}, but steps={train.steps}")
    made_by_twin = range(starts or 32)
    spec, frames = twin_spec(twin, store.success is not None, made_by_twin) if twin else (None, None)
    config = WorldRecipeConfig(
        data=str(data),
        tokenizer=str(tokenizer or init),
        dynamics=dynamics,
        batch_size=batch_size,
        rollouts=rollouts,
        stages=stages,
        context_level=context_level,
        times=TimeDistribution(pure_noise=pure_noise),
        foreground=foreground,
        busy=busy,
        horizon=horizon if horizon is not None else spec.horizon if spec else 60,
        twin=twin,
        twin_starts=len(made_by_twin) if twin else None,
        init=init,
        words=words,
    )
    made = {**provenance(data, store, train), "tokenizer": dict(codec_provenance)}
    if networks is not None:
        made["init"] = {k: v for k, v in networks.config.provenance.items() if k != "tokenizer"}
    if spec is not None:
        spec = replace(spec, horizon=config.horizon)
    begin = networks.dynamics if networks else None
    if begin is not None and networks is not None and words is not None and networks.config.words is None:
        begin = begin.under(words.width)
    recipe = WorldRecipe(
        config,
        store,
        codec,
        cache=cache,
        spec=spec,
        starts=frames,
        init=begin,
        seed=train.seed,
        device=train.device,
        provenance=made,
    )
    figures = run(recipe, train, out)
    print("\n".join(f"{name:36s} {value:9.4f}" for name, value in figures.items()))
    use = f"gymnasium.make('CosmosWorld-v0', world='{out / 'export'}')"
    print(f"world written to {out / 'export'}: {f'cosmos-sim dream --model {out}/export' if instructed else use}")


def twin_spec(task: str, has_success: bool, seeds: Sequence[int]) -> "tuple[WorldSpec, Starts]":
    """The spaces of a twin's task, and start frames from its resets."""

    from gymnasium import spaces

    from cosmos_sim.envs.starts import starts_from_twin
    from cosmos_sim.envs.twin.env import CosmosTwin
    from cosmos_sim.types import WorldSpec

    env = CosmosTwin(task=task)
    seen, action = env.observation_space, env.action_space
    assert isinstance(seen, spaces.Dict)
    assert isinstance(action, spaces.Box)
    pixels, state = seen["pixels"], seen["agent_pos"]
    assert isinstance(pixels, spaces.Dict)
    assert isinstance(state, spaces.Box)
    spec = WorldSpec(
        task=env.task_description,
        cameras={name: (space.shape[0], space.shape[1]) for name, space in pixels.items() if space.shape},
        action_low=tuple(action.low.tolist()),
        action_high=tuple(action.high.tolist()),
        state_low=tuple(state.low.tolist()),
        state_high=tuple(state.high.tolist()),
        fps=float(env.metadata["render_fps"]),
        horizon=env._max_episode_steps,
        has_success=has_success,
    )
    env.close()
    return spec, starts_from_twin(task, seeds)
