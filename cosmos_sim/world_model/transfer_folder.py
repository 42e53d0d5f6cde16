"""A Transfer world on disk: its config, the networks in ``dit`` and ``controls/KIND``, a tokenizer, a text encoder.

``annotator`` beside them, if there is one, reads depth and segments off the frames that the world makes.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from cosmos_sim.data.files import new_folder
from cosmos_sim.data.pretrained import from_dict, kind_of, read_config, to_json
from cosmos_sim.world_model.checkpoints.control import Controls
from cosmos_sim.world_model.checkpoints.control_write import save_branch
from cosmos_sim.world_model.checkpoints.network import save_ours
from cosmos_sim.world_model.denoise import SAMPLING, SamplingConfig
from cosmos_sim.world_model.tokenizer import Tokenizer
from cosmos_sim.world_model.tokenizer_folder import save_tokenizer
from cosmos_sim.world_model.wan import WanTokenizer
from cosmos_sim.world_model.words import FOLDER as TEXT
from cosmos_sim.world_model.words import Words

KIND, FORMAT = "transfer", 1
ANNOTATOR = "annotator"

NEGATIVE_PROMPT = (
    "The video captures a game playing, with bad crappy graphics and cartoonish frames. It represents a recording of "
    "old outdated games. The lighting looks very fake. The textures are very raw and basic. The geometries are very "
    "primitive. The images are very pixelated and of poor CG quality. There are many subtitles in the footage. "
    "Overall, the video is unrealistic at all."
)
"""What Cosmos-Transfer2.5 guides away from unless told otherwise."""


@dataclass(frozen=True)
class TransferSettings:
    """What ``config.json`` says of a Transfer world; the defaults are Cosmos-Transfer2.5-2B's.

    Fields are those of :class:`~cosmos_sim.world_model.transfer.TransferConfig`, which adds what the parts say.
    """

    sampling: SamplingConfig = SAMPLING["transfer2.5-2b"]
    chunk: int = 93
    size: tuple[int, int] = (704, 1280)
    sizes: tuple[tuple[int, int], ...] = ((960, 960), (704, 960), (960, 704), (1280, 704))
    views: tuple[str, ...] | None = None
    negative_prompt: str | None = NEGATIVE_PROMPT
    provenance: Mapping[str, Any] = field(default_factory=dict)


def is_transfer(folder: Path) -> bool:
    """Whether ``folder`` is a Transfer world's by what its config says.

    Raises:
        ValueError: there is a config, but it is not valid JSON.
    """
    return kind_of(folder) == KIND


def read_settings(folder: Path) -> TransferSettings:
    """What the config in ``folder`` says.

    Raises:
        ValueError: there is none, or one of an unknown format, or with unknown fields.
    """
    values, where = read_config(folder, KIND), str(folder / "config.json")
    if values.get("format") != FORMAT:
        raise ValueError(f"{where} has format {values.get('format')!r}; this version reads {FORMAT}")
    stated = {name: value for name, value in values.items() if name not in ("kind", "format")}
    return from_dict(TransferSettings, stated, where=where)


def save_transfer(
    settings: TransferSettings,
    controls: Controls,
    tokenizer: WanTokenizer | Tokenizer,
    folder: Path,
    *,
    words: Words | None = None,
    annotator: Path | None = None,
    card: str | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a Transfer world's folder, whole or not at all, one tensor of its networks in memory at a time.

    Args:
        controls: the branches, and the transformer that they stand beside.
        words: the text encoder, for a world that has its own.
        annotator: folder of an annotator to copy.
        card: the model card; :func:`transfer_card` when not given.
        dtype: to write the networks and a small tokenizer in; what they are stored in when not given.

    Raises:
        ValueError: a branch has no name, or there is no transformer.
    """
    base = controls.with_base()
    if dtype is not None:
        controls = controls.refilled({name: tensor.to(dtype) for name, tensor in controls.flat().items()})
    with new_folder(folder) as beside:
        (beside / "config.json").write_text(to_json({"kind": KIND, "format": FORMAT, **vars(settings)}))
        save_ours(controls.with_base(), beside / "dit")
        for kind, branch in controls.branches.items():
            save_branch(kind, branch, beside / "controls" / kind)
        codec = "vae" if isinstance(tokenizer, WanTokenizer) else "tokenizer"
        save_tokenizer(tokenizer, beside / codec, dtype=dtype)
        if words is not None:
            words.save_pretrained(beside / TEXT)
        if annotator is not None:
            shutil.copytree(annotator, beside / ANNOTATOR)
        made = transfer_card(
            settings, tuple(controls.branches), blocks=base.config.num_blocks, annotated=bool(annotator)
        )
        (beside / "README.md").write_text(made if card is None else card)


def transfer_card(settings: TransferSettings, kinds: tuple[str, ...], *, blocks: int, annotated: bool) -> str:
    """Markdown: what the world makes, of what, and how it was made."""
    sampling = settings.sampling
    sizes = ", ".join(f"{height}x{width}" for height, width in (settings.size, *settings.sizes))
    views = "one video" if settings.views is None else f"{', '.join(settings.views)} side by side"
    lines = [
        "---",
        "library_name: cosmos-sim",
        "tags: [robotics, world-model, video-generation, data-augmentation]",
        "---",
        "",
        "# A Transfer world: videos made anew along controls",
        "",
        f"A transformer of the Cosmos-Predict2.5 design ({blocks} blocks) with control branches as in",
        "Cosmos-Transfer2.5.",
        "",
        "```bash",
        "cosmos-sim augment --model FOLDER --dataset IN --out OUT --variants 5",
        'cosmos-sim transfer --model FOLDER --video IN.mp4 --prompt "..." --controls edge:1.0 --out OUT',
        "```",
        "",
        "| | |",
        "|---|---|",
        f"| controls | {', '.join(kinds)} |",
        f"| frames | {sizes}: {views} |",
        f"| made at once | {settings.chunk} frames |",
        f"| sampling | {sampling.evaluations} evaluations ({sampling.solver}), guidance {sampling.guidance:g} |",
        f"| annotator | {'depth and segments, in `annotator`' if annotated else 'none'} |",
        "",
        "## How it was made",
        "",
        *(f"- {name}: `{value}`" for name, value in settings.provenance.items()),
        "",
    ]
    return "\n".join(lines)
