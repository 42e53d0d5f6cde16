"""What the trainings of large networks have in common: their options, and who reads their captions."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

if TYPE_CHECKING:
    from cosmos_sim.data.clips import ClipSet
    from cosmos_sim.world_model.dit import DiTConfig
    from cosmos_sim.world_model.recipes.predict_text import Captions
    from cosmos_sim.world_model.recipes.stages import Stage
    from cosmos_sim.world_model.words import Words

STAGE, NETWORK = "text2world", "predict2.5-2b"
FLAT = tyro.conf.arg(name="")
"""Marks options that stand beside the command's own."""


def stage_defaults(tokens: Sequence[str]) -> dict[str, Any]:
    """What the options depend on: how the stage and the network that ``tokens`` name are trained."""
    from cosmos_sim.world_model.recipes.stages import training

    return {"train": training(option(tokens, "--stage", STAGE), option(tokens, "--network", NETWORK))}


def option(tokens: Sequence[str], name: str, default: str) -> str:
    """The last value of the option ``name`` among ``tokens``."""
    found = default
    for token, after in zip(tokens, [*tokens, ""][1:], strict=True):
        if token == name and after:
            found = after
        elif token.startswith(f"{name}="):
            found = token.partition("=")[2]
    return found


@dataclass(frozen=True)
class StageOptions:
    """A stage of the paper, and what is otherwise."""

    stage: str = STAGE
    """Of image-256p, 256p, 480p, 720p, text2world, cooldown, sft and action. It sets whatever is None below."""
    size: str | None = None
    """HEIGHT,WIDTH in pixels in place of the stage's sizes; the shift follows."""
    frames: int | None = None
    """Frames of a video; 1 for images alone."""
    fps: float | None = None
    """Frame rate that videos are brought to; their own by default."""
    images: float | None = None
    """Share of the steps whose batch is images."""
    known: tuple[float, ...] | None = None
    """Probabilities that a video begins from 0, 1, 2, ... given latents."""
    shift: float | None = None
    """Of the training times towards noise."""
    text_dropout: float | None = None
    """Share of the samples whose text is left out; 1 trains without captions."""
    batch_size: int | None = None
    """Samples in a batch, over all processes."""

    def chosen(self) -> "Stage":
        """The stage of that name with what is given."""
        from cosmos_sim.world_model.recipes.stages import shift_for, stage
        from cosmos_sim.world_model.request import parse_resolution
        from cosmos_sim.world_model.rope import resolution_ratio

        found = stage(self.stage)
        given = {name: value for name, value in asdict(self).items() if value is not None}
        changes = {name: value for name, value in given.items() if name not in ("stage", "size")}
        one = parse_resolution(self.size)
        if one is not None:
            changes = {"sizes": (one,), "shift": shift_for(one), **changes}
            if found.rope_ratio is not None:
                changes["rope_ratio"] = resolution_ratio(*one)
        if self.frames == 1 and not found.actions:
            changes = {"images": 1.0, **changes}
        return replace(found, **changes)


@dataclass(frozen=True)
class ClipOptions:
    """Which clips of the data are trained on."""

    cameras: tuple[str, ...] = ()
    """Which cameras of a robot's data; all by default."""
    side_by_side: bool = False
    """Show an episode's cameras next to each other; otherwise each is a video of its own."""
    every: int | None = None
    """Frames from the beginning of a clip to that of the next in a video; by default clips touch."""
    held_out: float = 0.1
    """Share of the videos kept from training, for the figures."""
    cache: Path | None = None
    """Folder of latents and of what is known of files; beside OUT by default."""
    workers: int = 4
    """Threads that decode clips."""

    def clips(
        self,
        data: Sequence[Path],
        stage: "Stage",
        *,
        cache: Path,
        captions: bool,
        stride_actions: Literal["sum", "last"] | None = None,
        annotations: bool = False,
    ) -> "ClipSet":
        """The clips of ``data`` that ``stage`` is trained on."""
        from cosmos_sim.data.clips import ClipSet
        from cosmos_sim.data.sources import open_source

        return ClipSet(
            [
                open_source(
                    path, cameras=self.cameras or None, side_by_side=self.side_by_side, stride_actions=stride_actions
                )
                for path in data
            ],
            frames=stage.frames,
            fps=stage.fps,
            sizes=stage.sizes,
            cache=cache,
            actions=stage.actions,
            captions=captions,
            annotations=annotations,
            held_out=self.held_out,
            every=self.every,
        )


@dataclass(frozen=True)
class LossOptions:
    """What weighs in the loss, and what is shown of the training; the recipes' fields of these names."""

    high_noise: float = 0.05
    """Share of the samples drawn from the top 2% of noise."""
    rare: float = 0.0
    """How much more latents count that are unlike the rest of their frame, such as a small object's: from 0, as in the
    original, to 1."""
    known_time: float | None = None
    """Noise level told for given frames; 1e-4 for the post-trained 2B, else none."""
    eval_clips: int = 16
    """Held-out clips that the loss is measured on."""
    samples: int = 2
    """Held-out clips that sample videos are made of."""
    sample_steps: int = 20
    """Sampling steps of these."""
    sample_guidance: float | None = None
    """Strength of their guidance by text; 7 by default."""


def check_size(network: str, checkpoint: Path | None, found: "DiTConfig") -> None:
    """Learning rates go by the network's name: refuse another one than the checkpoint holds."""
    from cosmos_sim.world_model.dit import PRESETS

    widths = {name: config.model_channels for name, config in PRESETS.items()}
    if checkpoint is not None and found.model_channels != widths.get(network, found.model_channels):
        near = [name for name, width in widths.items() if width == found.model_channels] or ["small"]
        raise ValueError(f"{checkpoint} is {found.model_channels} wide, which {network} is not: say network {near[0]}")


def embedded(
    encoder: "str | Words | None", captions: Sequence[str], network: "DiTConfig", *, cache: Path, device: str
) -> "Captions | None":
    """What the network reads of captions: encoded by words or, now, by the Cosmos-Reason1 of that name."""
    from cosmos_sim.world_model.recipes.predict_text import reason1_captions, words_captions

    if encoder is None:
        return None
    width = network.context_in_dim or network.context_dim
    if not isinstance(encoder, str):
        return words_captions(encoder, captions, width=width)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    return reason1_captions(
        encoder, captions, width=width, cache=cache.expanduser(), device=device, processes=processes
    )
