"""``cosmos-sim train control``."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    from jaxtyping import UInt8
    from numpy import ndarray

    from cosmos_sim.world_model.checkpoints.control import Branch
    from cosmos_sim.world_model.recipes.control_extract import Extractor


def control(
    data: tuple[Path, ...],
    base: Path,
    control: str,
    out: Path,
    init: Path | None = None,
    tokenizer: Path | None = None,
    network: str = NETWORK,
    blocks: int | None = None,
    variants: int = 4,
    text_encoder: str | None = None,
    prompt_cache: Path = Path("~/.cache/cosmos-sim/prompts"),
    stage: Annotated[StageOptions, FLAT] = StageOptions(),  # noqa: B008
    clip: Annotated[ClipOptions, FLAT] = ClipOptions(),  # noqa: B008
    loss: Annotated[LossOptions, FLAT] = LossOptions(),  # noqa: B008
    train: Annotated[TrainConfig, FLAT] = TrainConfig(),  # noqa: B008
) -> None:
    """Train a control branch of Cosmos-Transfer2.5 beside a Predict2.5 network, which stays as it is.

    Control videos are made of the clips while it trains: edges and blur of their frames, depth and segments of their
    annotations. Their latents are kept, so that most of them are made once.

    Args:
        data: folders of videos with captions, LeRobot datasets (v3), or Bridge in IRASim's layout.
        base: the network, in any format that convert reads.
        control: edge, blur, depth or seg; the last two of data with annotations.
        out: where checkpoints, curves, sample videos and, at the end, ``export`` go; a started run resumes.
        init: a branch for BASE to go on from, in any format that convert reads.
        tokenizer: folder of the Wan2.1 VAE or of a small tokenizer; the one in BASE by default.
        network: the network's size: predict2.5-2b, predict2.5-14b or small.
        blocks: of the branch, at most; 4 by default, or those of INIT.
        variants: different control videos of a clip, of edges, blur and segments.
        text_encoder: folder or hub id of Cosmos-Reason1; a network that was trained with words holds its own encoder.
        prompt_cache: folder where embeddings of captions are kept.
        stage: what is trained and how.
        clip: on which clips.
        loss: what weighs, and what is shown.
        train: how to train.
    """
    from dataclasses import replace

    from cosmos_sim.cli.train._provenance import of_run
    from cosmos_sim.training import train as run
    from cosmos_sim.world_model.control import ControlConfig
    from cosmos_sim.world_model.recipes.control import ControlRecipe
    from cosmos_sim.world_model.recipes.control_config import ControlRecipeConfig
    from cosmos_sim.world_model.recipes.predict_start import begin
    from cosmos_sim.world_model.recipes.predict_text import WORDS
    from cosmos_sim.world_model.tokenizer_folder import open_tokenizer
    from cosmos_sim.world_model.words import find_words

    extract = _extractor(control)
    chosen = stage.chosen()
    if chosen.actions:
        raise ValueError(f"stage={stage.stage!r} is of data with actions, which no control branch is trained on")
    words = find_words(base)
    if words is not None and text_encoder is not None:
        raise ValueError(f"text_encoder={text_encoder} would be ignored: {base} holds its own")
    if words is None and text_encoder == WORDS:
        raise ValueError(f"{base} holds no encoder of words, so it was not trained with one")
    start = begin(base, seed=train.seed)
    check_size(network, base, start.config)
    begun = None if init is None else _begun(init, base, control)
    if init is not None and blocks is not None:
        raise ValueError(f"blocks={blocks} would be ignored: {init} has its own")
    cache = clip.cache or out.parent / "cache"
    read = words is not None or text_encoder is not None
    clips = clip.clips(data, chosen, cache=cache, captions=read, annotations=extract.annotated)
    recipe = ControlRecipe(
        ControlRecipeConfig(
            data=tuple(map(str, data)),
            tokenizer=str(tokenizer or base),
            dit=start.config,
            stage=replace(chosen, rope_ratio=None),
            init=str(base),
            text=text_encoder if words is None else WORDS,
            **vars(loss),
            control=control,
            branch=ControlConfig.beside(start.config, blocks=4 if blocks is None else blocks)
            if begun is None
            else begun.config,
            branch_init=None if init is None else str(init),
            variants=variants,
        ),
        clips,
        open_tokenizer(tokenizer or base),
        start,
        extract,
        branch=None if begun is None else begun.weights,
        cache=cache / "latents",
        captions=embedded(
            words or text_encoder, clips.captions(), start.config, cache=prompt_cache, device=train.device
        ),
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
        print("\n".join(f"{name:22s} {value:9.4f}" for name, value in figures.items()))
        print(f"written to {out / 'export'}")


defaults = stage_defaults


def _begun(init: Path, base: Path, control: str) -> "Branch":
    """The branch at ``init``, made for the network at ``base``.

    Raises:
        ValueError: there is none for that control, or it is of another network.
    """
    from cosmos_sim.world_model.checkpoints.control import open_control
    from cosmos_sim.world_model.checkpoints.source import open_source

    branches = open_control(open_source(init), base=open_source(base)).branches
    if control not in branches:
        raise ValueError(f"{init} is a branch for {', '.join(branches)}, not for {control}")
    return branches[control]


def _extractor(kind: str) -> "Extractor":
    """What makes the control videos of a kind, as it is drawn in training.

    Raises:
        ValueError: there is no such control.
    """
    from cosmos_sim.augmentation.controls import choose, depth_frames, random_blur, random_edge, segment_frames
    from cosmos_sim.data.segments import BACKGROUND
    from cosmos_sim.world_model.recipes.control_extract import Extractor, View

    def depth(view: View, seed: int) -> "UInt8[ndarray, 't h w 3']":
        assert view.depth is not None
        return depth_frames(view.depth)

    def segments(view: View, seed: int) -> "UInt8[ndarray, 't h w 3']":
        assert view.segments is not None
        named = [name for name in view.segments.names if name != BACKGROUND]
        return segment_frames(view.segments.choose(named).ids, seed)

    known = {
        "edge": Extractor("edge", lambda view, seed: random_edge(view.frames, seed)),
        "blur": Extractor("blur", lambda view, seed: random_blur(view.frames, seed)),
        "depth": Extractor("depth", depth, annotated=True, random=False),
        "seg": Extractor("seg", segments, annotated=True),
    }
    return choose(known, kind, "control")
