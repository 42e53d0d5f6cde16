"""Small videos for people to look at."""

import io
from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from cosmos_sim.data.files import new_file

Frames = UInt8[ndarray, "t h w c"]
OPTIONS = {"crf": "20", "threads": "1", "x264-params": "mbtree=0"}


def write_mp4(path: Path, frames: Frames | Iterable[Frames], fps: float) -> None:
    """Write RGB frames as H.264 in an mp4 file that browsers play; odd sizes repeat their last row or column.

    Frames come at once or piece after piece, each of which is written before the next is asked for. The file appears
    when it is whole. The same frames give the same bytes: one thread encodes, without x264's macroblock tree, which
    makes one encoding in some hundreds come out otherwise.

    Raises:
        ValueError: for anything but ``uint8`` frames ``t h w 3``, at least one of them, all of one size.
    """
    pieces = iter([frames] if isinstance(frames, ndarray) else frames)
    first = next(pieces, np.empty((0, 0, 0, 3), np.uint8))
    _check(first)
    size = first.shape[1:]
    with new_file(path) as partial, av.open(partial, "w", format="mp4") as container:
        rate = Fraction(fps).limit_denominator(1000)
        stream = container.add_stream("libx264", rate=rate, options=OPTIONS)
        stream.height, stream.width = (side + side % 2 for side in size[:2])
        stream.pix_fmt = "yuv420p"
        for piece in chain([first], pieces):
            _check(piece)
            if piece.shape[1:] != size:
                raise ValueError(f"a video of {size[0]}x{size[1]} goes on with frames of {piece.shape[1:3]}")
            for frame in piece:
                even = np.pad(frame, [(0, size[0] % 2), (0, size[1] % 2), (0, 0)], mode="edge")
                container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
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
