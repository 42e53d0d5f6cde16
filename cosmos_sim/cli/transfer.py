"""``cosmos-sim transfer``."""

from pathlib import Path
from typing import Any, Literal


def transfer(
    *,
    video: tuple[Path, ...],
    out: Path,
    prompt: str | None = None,
    controls: tuple[str, ...] = (),
    control_videos: tuple[str, ...] = (),
    model: str = "transfer",
    branches: tuple[str, ...] = (),
    name: str | None = None,
    negative_prompt: str | None = None,
    seed: int = 0,
    guidance: float | None = None,
    steps: int | None = None,
    overlap: int = 1,
    annotator: str | None = None,
    phrases: tuple[str, ...] = (),
    keep: str | None = None,
    keep_steps: int | None = None,
    sigma_max: float | None = None,
    show_controls: bool = False,
    size: str | None = None,
    chunk: int | None = None,
    tokenizer: str | None = None,
    text_encoder: str | None = None,
    quantise_text: Literal["int8", "nf4"] | None = None,
    prompt_cache: Path = Path("~/.cache/cosmos-sim/prompts"),
    low_vram: bool = False,
    compiled: bool = False,
    tile: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
) -> None:
    """Make one video anew along its edges, blur, depth or segments, with a Transfer world.

    What comes out has the length, frame rate and size of what goes in. Writes OUT/NAME.mp4 (of several cameras
    OUT/NAME.CAMERA.mp4) and, beside it, how it was made as OUT/NAME.json.

    Args:
        video: The video; for a world of several cameras one for each in its order, or one of all side by side.
        out: Folder for what is made.
        prompt: What is to be seen; without one text is left out.
        controls: What to hold to, as KIND[@PRESET][:REGION][:WEIGHT], such as edge@low:0.5 or blur:robot. By default
            the paper's for robots: medium edges everywhere, very little blur on the robot.
        control_videos: Controls that are there already, as KIND=FILE; the others are computed from the video.
        model: The world: a shipped name, a folder or a hub id; or a checkpoint in any format that convert reads.
        branches: Control branches beside a checkpoint without them, as KIND=FILE.
        name: Of what is written; the video's own by default.
        negative_prompt: What to guide away from; the world's own by default.
        seed: Of the noise.
        guidance: How strongly the prompt guides: 0 is not at all; the world's own by default (3 as released).
        steps: Sampling steps; the world's own by default.
        overlap: Frames that a chunk begins from.
        annotator: Who reads depth, segments and regions: a trained annotator's folder, or hub for the large networks;
            the world's own by default, if it has one.
        phrases: The segments that the seg control shows; all that the annotator knows by default.
        keep: What stays as it is: a region, or a video that is bright there.
        keep_steps: The last sampling step that holds it; 25 by default.
        sigma_max: Begin from the video with noise of this level, up to 1, in place of noise alone.
        show_controls: Write the controls, too, as OUT/NAME.KIND.mp4.
        size: HEIGHT,WIDTH at which videos are made, for checkpoints; 704,1280 or another shape of 720p by default.
        chunk: Frames made at once, for checkpoints; 93 by default.
        tokenizer: Folder of the Wan2.1 VAE or of a small tokenizer; the one in MODEL by default.
        text_encoder: Folder or hub id of Cosmos-Reason1; nvidia/Cosmos-Reason1-7B by default, for a model that has no
            encoder.
        quantise_text: Hold the text encoder in 8 bits (torchao) or 4 (bitsandbytes).
        prompt_cache: Folder where embeddings of prompts are kept.
        low_vram: Have the networks on the GPU one after another.
        compiled: Compile the network's blocks, which takes a minute or two.
        tile: Code images in tiles of so many pixels, for small cards; not exact.
        device: cpu, cuda, ...
        dtype: float32 or bfloat16.
    """
    from cosmos_sim.augmentation.control_spec import DEFAULT, parse_controls
    from cosmos_sim.augmentation.transfer_video import Task, transfer_video
    from cosmos_sim.cli._pairs import named_files
    from cosmos_sim.world_model.load_transfer import load_transfer
    from cosmos_sim.world_model.reason1 import Reason1Config
    from cosmos_sim.world_model.request import parse_resolution
    from cosmos_sim.world_model.tiles import Tiling

    asked: dict[str, Any] = {
        "seed": seed,
        "negative_prompt": negative_prompt,
        "guidance": guidance,
        "steps": steps,
        "overlap": overlap,
        "keep_steps": keep_steps,
    }
    task = Task(
        video,
        prompt,
        parse_controls(controls) if controls else DEFAULT,
        files=named_files(control_videos, "control_videos"),
        annotator=annotator,
        phrases=phrases,
        keep=keep,
        sigma_max=sigma_max,
        options={option: value for option, value in asked.items() if value is not None},
    )
    told = {"model": text_encoder, "quantise": quantise_text}
    reason1: dict[str, Any] = {field: value for field, value in told.items() if value is not None}
    changes = {"size": parse_resolution(size), "chunk": chunk}
    world = load_transfer(
        model,
        branches=named_files(branches, "branches"),
        tokenizer=tokenizer,
        text_encoder=Reason1Config(**reason1) if reason1 else None,
        prompt_cache=prompt_cache.expanduser(),
        changes={setting: value for setting, value in changes.items() if value is not None},
        device=device,
        dtype=dtype,
        low_vram=low_vram,
        compiled=compiled,
        tiling=None if tile is None else Tiling(tile, overlap=min(64, tile // 4)),
    )
    for path in transfer_video(world, task, out, name=name, show=show_controls):
        print(path)
