"""Requests in, mp4 files out: everything is checked first, then each video is made and written piece after piece."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from cosmos_sim.data.files import new_file
from cosmos_sim.training.video import write_mp4
from cosmos_sim.world_model.chunks import Chunk
from cosmos_sim.world_model.inputs import given_frames
from cosmos_sim.world_model.predict import Job, Predict
from cosmos_sim.world_model.request import Request, check_names


def generate(
    pipeline: Predict, requests: Sequence[Request], out: Path, *, preview_every: int = 0, progress: bool = True
) -> list[Path]:
    """Make every requested video: ``out/NAME.mp4``, with the request beside it as ``out/NAME.json``.

    Each appears when it is whole, the request last. Videos that were made stay when a later one fails.

    Args:
        preview_every: after every so many evaluations ``out/NAME.preview.jpg`` shows where the video is going: its last
            latent as a still. 0 for none.
        progress: whether a bar on stderr counts evaluations.

    Raises:
        ValueError: no requests, or one that cannot be made, before anything is loaded or written; NaN in what the
            tokenizer or the text encoder gives.
        FloatingPointError: a network gave NaN or infinity; the message says where.
    """
    jobs = check(pipeline, requests, preview_every=preview_every)
    out.mkdir(parents=True, exist_ok=True)
    for job in jobs:  # a name or a folder that cannot be written is found before the work, not after
        with tempfile.NamedTemporaryFile(dir=out, prefix=f"{job.request.name}.", suffix=".mp4"):
            pass
    pipeline.prepare(jobs)
    written = []
    total = sum(job.evaluations for job in jobs)
    with tqdm(total=total, unit="evaluation", disable=not progress) as bar:
        for job in jobs:
            path = out / f"{job.request.name}.mp4"
            write_mp4(path, _frames(pipeline, job, path, bar, preview_every), job.request.fps)
            with new_file(path.with_suffix(".json")) as partial:
                partial.write_text(job.filled().as_json(), encoding="utf-8")
            path.with_suffix(".preview.jpg").unlink(missing_ok=True)
            written.append(path)
    return written


def check(pipeline: Predict, requests: Sequence[Request], *, preview_every: int = 0) -> list[Job]:
    """What :func:`generate` would do; every input is read once, and nothing is loaded or written.

    Raises:
        ValueError: no requests, or one that cannot be made.
    """
    if not requests:
        raise ValueError("there are no requests")
    if preview_every < 0:
        raise ValueError(f"preview_every must be 0 or more, not {preview_every}")
    check_names(requests)
    jobs = [pipeline.job(request) for request in requests]
    for job in jobs:
        beginning(job)
    return jobs


def beginning(job: Job) -> UInt8[ndarray, "t h w c"] | None:
    """The frames that a job begins from, ``None`` when it begins from text.

    Raises:
        ValueError: naming the request and the file: missing, empty, broken, of an unknown kind, or too short.
    """
    request = job.request
    if request.input_path is None:
        return None
    try:
        return given_frames(request.input_path, frames=request.given, size=job.size)
    except ValueError as error:
        raise request.error(str(error)) from error


def _frames(
    pipeline: Predict, job: Job, path: Path, bar: "tqdm[Any]", preview_every: int
) -> Iterator[UInt8[ndarray, "t h w c"]]:
    def watch(chunk: Chunk, index: int, latent: Float[Tensor, "1 z t i j"]) -> None:
        bar.set_description(f"{job.request.name}, chunk {chunk.index + 1} of {len(job.chunks)}")
        bar.update()
        if preview_every and (index + 1) % preview_every == 0:
            with new_file(path.with_suffix(".preview.jpg")) as partial:
                Image.fromarray(pipeline.still(latent)).save(partial, format="JPEG", quality=90)

    yield from pipeline.video(job, beginning(job), watch=watch)
