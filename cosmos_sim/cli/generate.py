"""``cosmos-sim generate``."""

from pathlib import Path
from typing import Any, Literal


def generate(
    *,
    model: str,
    out: Path,
    prompt: str | None = None,
    image: Path | None = None,
    video: Path | None = None,
    requests: tuple[Path, ...] = (),
    name: str | None = None,
    negative_prompt: str | None = None,
    seed: int | None = None,
    guidance: float | None = None,
    steps: int | None = None,
    frames: int | None = None,
    size: str | None = None,
    overlap: int | None = None,
    fps: float | None = None,
    sampling: str | None = None,
    guidance_interval: tuple[float, float] | None = None,
    first_block_threshold: float | None = None,
    tokenizer: str | None = None,
    text_encoder: str | None = None,
    quantise_text: Literal["int8", "nf4"] | None = None,
    prompt_cache: Path = Path("~/.cache/cosmos-sim/prompts"),
    low_vram: bool = False,
    compiled: bool = False,
    tile: int | None = None,
    preview_every: int = 0,
    device: str = "auto",
    dtype: str = "auto",
) -> None:
    """Generate videos with Cosmos-Predict2.5 from a prompt, and an image or a video to go on from.

    One video from the options, or many from request files in NVIDIA's JSON or JSONL format, which then say all about
    them. Writes OUT/NAME.mp4 with the request beside it as OUT/NAME.json. Everything is checked before a large network
    is loaded.

    Args:
        model: The network: a file or folder in any format that convert reads, or diffusers' folder of a pipeline.
        out: Folder for the videos.
        prompt: What happens.
        image: Begin from this image.
        video: Begin from the last five frames of this video.
        requests: Request files, .json or .jsonl, in place of a prompt.
        name: Of the video's file; video by default.
        negative_prompt: What to guide away from; NVIDIA's list of faults by default.
        seed: Of the noise; 0 by default.
        guidance: How strongly the prompt guides: 0 is not at all; 7 by default.
        steps: Sampling steps; 35 by default.
        frames: Frames of the video; 93 by default. More are made chunk after chunk.
        size: HEIGHT,WIDTH in pixels, or 720, 720p, 480, 480p, 256; the network's own by default.
        overlap: Frames that a chunk begins from: 1, the default, or 5.
        fps: Of the video file; 16 by default.
        sampling: Which released checkpoint the network is sampled like; the post-trained one of its size by default.
        guidance_interval: Noise levels between which guidance acts, 0 to 1 by default; outside it costs nothing.
        first_block_threshold: Skip blocks where the first one changes less than this: faster, not exact; 0 by default.
        tokenizer: Folder of the Wan2.1 VAE; the one in MODEL by default.
        text_encoder: Folder or hub id of Cosmos-Reason1, nvidia/Cosmos-Reason1-7B by default; for a network whose
            folder holds no encoder.
        quantise_text: Hold the text encoder in 8 bits (torchao) or 4 (bitsandbytes).
        prompt_cache: Folder where embeddings of prompts are kept.
        low_vram: Have the networks on the GPU one after another.
        compiled: Compile the network's blocks, which takes a minute or two.
        tile: Code images in tiles of so many pixels, for small cards; not exact.
        preview_every: Write OUT/NAME.preview.jpg after every so many evaluations; 0 for none.
        device: cpu, cuda, ...
        dtype: float32 or bfloat16.
    """
    from cosmos_sim.world_model.generate import generate as run
    from cosmos_sim.world_model.load_predict import load_predict
    from cosmos_sim.world_model.reason1 import Reason1Config
    from cosmos_sim.world_model.request import Request, parse_resolution, read_requests
    from cosmos_sim.world_model.tiles import Tiling

    options: dict[str, Any] = {
        "name": name,
        "prompt": prompt,
        "negative_prompt": negative_prompt,
        "seed": seed,
        "guidance": guidance,
        "resolution": parse_resolution(size),
        "num_output_frames": frames,
        "num_steps": steps,
        "chunk_overlap": overlap,
        "fps": fps,
        "input_path": image or video,
    }
    options = {field: value for field, value in options.items() if value is not None}
    if image is not None and video is not None:
        raise ValueError("give an image or a video to begin from, not both")
    if requests and options:
        raise ValueError(f"{', '.join(options)} would be ignored: the request files say all about their videos")
    if not requests and prompt is None:
        raise ValueError("give a prompt or requests")
    if requests:
        asked = [request for path in requests for request in read_requests(path)]
    else:
        kind = "text2world" if image is video is None else "image2world" if video is None else "video2world"
        asked = [Request(**{"name": "video", "inference_type": kind, **options})]
    told = {"model": text_encoder, "quantise": quantise_text}
    reason1: dict[str, Any] = {field: value for field, value in told.items() if value is not None}
    faster = {"guidance_interval": guidance_interval, "first_block_threshold": first_block_threshold}
    pipeline = load_predict(
        model,
        tokenizer=tokenizer,
        text_encoder=Reason1Config(**reason1) if reason1 else None,
        prompt_cache=prompt_cache.expanduser(),
        sampling=sampling,
        changes={field: value for field, value in faster.items() if value is not None},
        device=device,
        dtype=dtype,
        low_vram=low_vram,
        compiled=compiled,
        tiling=None if tile is None else Tiling(tile, overlap=min(64, tile // 4)),
    )
    for path in run(pipeline, asked, out, preview_every=preview_every):
        print(path)
