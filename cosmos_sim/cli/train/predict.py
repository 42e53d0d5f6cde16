"""``cosmos-sim train predict``."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cosmos_sim.cli.train._stages import (
    FLAT,
    NETWORK,
    ClipOptions,
    LossOptions,
    StageOptions,
    check_size,
    embedded,
    stage_defaults,
)
from cosmos_sim.training import TrainConfig

if TYPE_CHECKING:
    from cosmos_sim.world_model.dit import DiTConfig
    from cosmos_sim.world_model.recipes.predict_adapter import AdapterConfig
    from cosmos_sim.world_model.tokenizer import Tokenizer
    from cosmos_sim.world_model.wan import WanTokenizer


def predict(
    data: tuple[Path, ...],
    tokenizer: Path,
    out: Path,
    network: str = NETWORK,
    init: Path | None = None,
    width: int | None = None,
    blocks: int | None = None,
    heads: int | None = None,
    stride_actions: Literal["sum", "last"] | None = None,
    normalise_actions: bool | None = None,
    text_encoder: str | None = None,
    prompt_cache: Path = Path("~/.cache/cosmos-sim/prompts"),
    prepare_text: bool = False,
    adapter: Literal["lora", "dora"] | None = None,
    rank: int | None = None,
    alpha: float | None = None,
    targets: tuple[str, ...] = (),
    stage: Annotated[StageOptions, FLAT] = StageOptions(),  # noqa: B008
    clip: Annotated[ClipOptions, FLAT] = ClipOptions(),  # noqa: B008
    loss: Annotated[LossOptions, FLAT] = LossOptions(),  # noqa: B008
    train: Annotated[TrainConfig, FLAT] = TrainConfig(),  # noqa: B008
) -> None:
    """Train a Cosmos-Predict2.5 network, from nothing or from a checkpoint, on videos or on a robot's data.

    A stage of the paper says what is trained and how; every option changes it. For many GPUs, start it with torchrun:
    ``torchrun --nproc-per-node 8 -m cosmos_sim.cli train predict ... --parallel.context 2``.

    Args:
        data: folders of videos and images with captions, LeRobot datasets (v3), or Bridge in IRASim's layout.
        tokenizer: folder of the Wan2.1 VAE, or of a small tokenizer that ``cosmos-sim train tokenizer`` exported, or of
            a small world, which holds one.
        out: where checkpoints, curves, sample videos and, at the end, ``export`` go; a started run resumes.
        network: predict2.5-2b, predict2.5-14b or small; with init the size of that checkpoint.
        init: a checkpoint to begin from, in any format that convert reads, or a Predict2.5 world's folder.
        width: width of a small network; 256 by default.
        blocks: its number of blocks; 6 by default.
        heads: its attention heads; 4 by default.
        stride_actions: what becomes of a robot's actions between two frames at a lower rate.
        normalise_actions: bring actions to zero mean and unit variance; by default all but Bridge's, which are scaled.
        text_encoder: what encodes captions: words, which needs no weights, for small networks; or the folder or hub id
            of Cosmos-Reason1.
        prompt_cache: folder where embeddings of captions are kept.
        prepare_text: encode the captions and stop: to be done once before training on several processes.
        adapter: train an adapter in place of all weights.
        rank: of the adapter; 32 by default.
        alpha: numerator of its scale; 32 by default.
        targets: ends of the names of the layers that get one; all projections of attention and MLP by default.
        stage: what is trained and how.
        clip: on which clips.
        loss: what weighs, and what is shown.
        train: how to train.
    """
    from cosmos_sim.cli.train._provenance import of_run
    from cosmos_sim.training import train as run
    from cosmos_sim.world_model.reason1 import Reason1Config
    from cosmos_sim.world_model.recipes.predict import PredictRecipe
    from cosmos_sim.world_model.recipes.predict_conditions import row_width
    from cosmos_sim.world_model.recipes.predict_config import PredictRecipeConfig
    from cosmos_sim.world_model.recipes.predict_start import begin
    from cosmos_sim.world_model.recipes.predict_text import WORDS, words_for
    from cosmos_sim.world_model.rope import resolution_ratio
    from cosmos_sim.world_model.tokenizer_folder import open_tokenizer

    chosen = stage.chosen()
    adaptation = _adapter(adapter, rank, alpha, targets)
    codec = open_tokenizer(tokenizer)
    words = words_for(init) if text_encoder == WORDS else None
    if prepare_text and (text_encoder is None or words is not None):
        raise ValueError(f"prepare_text would do nothing: text_encoder is {text_encoder}")
    embedding = None if text_encoder is None else Reason1Config.width if words is None else words.width
    config = _network(network, init, (width, blocks, heads), codec, embedding)
    cache = clip.cache or out.parent / "cache"
    clips = clip.clips(data, chosen, cache=cache, captions=text_encoder is not None, stride_actions=stride_actions)
    row = None
    if clips.action_dim is not None:
        row = row_width(config, codec, frames=chosen.frames, action_dim=clips.action_dim)
    scratch = resolution_ratio(*chosen.sizes[0]) if init is None else None
    start = begin(init, config=config, action_dim=row, rope_ratio=chosen.rope_ratio or scratch, seed=train.seed)
    check_size(network, init, start.config)
    captions = embedded(words or text_encoder, clips.captions(), start.config, cache=prompt_cache, device=train.device)
    if prepare_text:
        print(f"{len(clips.captions())} captions are in {prompt_cache}")
        return
    bridge = all((path / "annotation").is_dir() for path in data)
    recipe = PredictRecipe(
        PredictRecipeConfig(
            data=tuple(map(str, data)),
            tokenizer=str(tokenizer),
            dit=start.config,
            stage=chosen,
            init=None if init is None else str(init),
            adapter=adaptation,
            text=text_encoder,
            normalise_actions=chosen.actions and not bridge if normalise_actions is None else normalise_actions,
            **vars(loss),
        ),
        clips,
        codec,
        start,
        cache=cache / "latents",
        captions=captions,
        seed=train.seed,
        workers=clip.workers,
        provenance={
            "stage": stage.stage,
            "data": f"{', '.join(path.name for path in data)}: {len(clips)} clips",
            **of_run(train),
        },
    )
    figures = run(recipe, train, out)
    if int(os.environ.get("RANK", "0")) == 0:
        print("\n".join(f"{name:12s} {value:9.4f}" for name, value in figures.items()))
        print(f"written to {out / 'export'}, whose README.md says how it is used")


defaults = stage_defaults


def _adapter(
    kind: Literal["lora", "dora"] | None, rank: int | None, alpha: float | None, targets: tuple[str, ...]
) -> "AdapterConfig | None":
    from cosmos_sim.world_model.recipes.predict_adapter import AdapterConfig

    options = {"rank": rank, "alpha": alpha, "targets": targets or None}
    given = {name: value for name, value in options.items() if value is not None}
    if kind is None:
        if given:
            raise ValueError(f"{', '.join(given)} would be ignored: no adapter is trained")
        return None
    return AdapterConfig(kind, **given)  # type: ignore[arg-type]


def _network(
    name: str,
    init: Path | None,
    sizes: tuple[int | None, int | None, int | None],
    codec: "WanTokenizer | Tokenizer",
    embedding: int | None,
) -> "DiTConfig | None":
    """The network to begin from nothing with, and its text's width; ``None`` where a checkpoint says it."""
    from cosmos_sim.world_model.dit import DiTConfig, preset

    given = {n: v for n, v in zip(("width", "blocks", "heads"), sizes, strict=True) if v is not None}
    if given and (name != "small" or init is not None):
        why = f"{init} has its own sizes" if init is not None else f"network {name} has its own"
        raise ValueError(f"{', '.join(given)} would be ignored: {why}")
    if init is not None:
        return None
    if name != "small":
        return preset(name)
    model = {"width": 256, "blocks": 6, "heads": 4, **given}
    return DiTConfig(
        latent_channels=codec.config.latent_channels,
        model_channels=model["width"],
        num_blocks=model["blocks"],
        num_heads=model["heads"],
        adaln_lora_dim=max(8, model["width"] // 4),
        context_dim=None if embedding is None else model["width"],
        context_in_dim=embedding,
    )
