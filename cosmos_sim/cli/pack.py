"""``cosmos-sim pack``."""

from pathlib import Path
from typing import Any, Literal


def pack(
    *,
    model: str,
    out: Path,
    branches: tuple[str, ...] = (),
    bare: bool = False,
    tokenizer: str | None = None,
    annotator: Path | None = None,
    views: tuple[str, ...] = (),
    size: str | None = None,
    chunk: int | None = None,
    sampling: str | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    note: tuple[str, ...] = (),
    dtype: Literal["keep", "bf16", "fp32"] = "keep",
) -> None:
    """Put a network, its control branches and all else that they need into one Transfer world.

    The folder is what --model of augment, transfer and dream takes.

    Args:
        model: The network that train predict exported, or a checkpoint in any format that convert reads.
        out: Folder of the world, which must not exist.
        branches: What train control exported, as KIND=FOLDER; of a checkpoint with branches they need not be given.
        bare: Pack it without branches: a world for dream, which goes on from frames and text alone.
        tokenizer: Folder of the tokenizer; the one in MODEL by default.
        annotator: Folder of what train annotator exported, to read depth and segments off what the world makes.
        views: The cameras side by side in its frames, from left to right; none for one video alone.
        size: HEIGHT,WIDTH of its frames, needed if it was trained with words; a Transfer world's own, else 704,1280 and
            the other shapes of 720p by default.
        chunk: Frames that it makes at once, needed if it was trained with words; a Transfer world's own, else 93 by
            default.
        sampling: Which released checkpoint it is sampled like; a Transfer world's own, else transfer2.5-2b by default.
        steps: Sampling steps unless the user says otherwise.
        guidance: Strength of guidance unless the user says otherwise.
        note: What the model card is to tell of how it was made, as NAME=TEXT.
        dtype: Of the networks' weights; keep leaves them as they are.
    """
    import torch

    from cosmos_sim.cli._pairs import named_files, pairs
    from cosmos_sim.world_model.denoise import SAMPLING
    from cosmos_sim.world_model.load_transfer import pack_transfer
    from cosmos_sim.world_model.request import parse_resolution
    from cosmos_sim.world_model.sampler import named

    if bare and branches:
        raise ValueError(f"the branches {', '.join(branches)} would be ignored in a bare world")
    drawn = {field: value for field, value in {"steps": steps, "guidance": guidance}.items() if value is not None}
    changes: dict[str, Any] = {"size": parse_resolution(size), "chunk": chunk, "views": views or None}
    if sampling is not None:
        changes["sampling"] = named(SAMPLING, sampling, "sampling")
    if note:
        changes["provenance"] = pairs(note, "note")
    pack_transfer(
        out,
        model=model,
        branches=named_files(branches, "branches"),
        tokenizer=tokenizer,
        annotator=annotator,
        changes={setting: value for setting, value in changes.items() if value is not None},
        sampling=drawn,
        bare=bare,
        dtype={"keep": None, "bf16": torch.bfloat16, "fp32": torch.float32}[dtype],
    )
    print(out)
