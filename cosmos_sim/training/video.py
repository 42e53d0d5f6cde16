"""Small videos for people to look at."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from cosmos_sim.data.files import new_file


def write_mp4(path: Path, frames: UInt8[ndarray, "t h w c"], fps: float) -> None:
    """Write RGB frames as H.264 in an mp4 file that browsers play; odd sizes repeat their last row or column.

    Raises:
        ValueError: for anything but ``uint8`` frames ``t h w 3``, at least one of them.
    """
    _check(frames)
    even = np.pad(frames, [(0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)], mode="edge")
    with new_file(path) as partial, av.open(partial, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000), options={"crf": "20"})
        stream.height, stream.width = even.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in even:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())


def encode_gif(frames: UInt8[ndarray, "t h w c"], fps: float) -> bytes:
    """RGB frames as an endless animated GIF, the one kind of video that tensorboard shows."""
    _check(frames)
    first, *rest = [Image.fromarray(frame) for frame in frames]
    buffer = io.BytesIO()
    first.save(buffer, format="GIF", save_all=True, append_images=rest, duration=1000 / fps, loop=0)
    return buffer.getvalue()


def _check(frames: ndarray) -> None:
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ValueError(f"a video must be uint8 frames t h w 3, but is {frames.dtype} {frames.shape}")
