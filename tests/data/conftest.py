"""Videos whose frames say which they are."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy import ndarray

Encode = Callable[..., Path]

LEVEL = 5


def frame_numbers(frames: ndarray) -> list[int]:
    """Which frames of a numbered video these are, read off their brightness."""
    levels = frames.astype(float).mean(axis=(1, 2, 3)) / LEVEL
    assert np.abs(levels - np.rint(levels)).max() < 0.35, levels
    return np.rint(levels).astype(int).tolist()


@pytest.fixture
def numbers() -> Callable[[ndarray], list[int]]:
    return frame_numbers


@pytest.fixture
def encode() -> Encode:
    """Writes a video of up to 50 frames, each of its own brightness with a texture, its index in front of the data."""

    def write(
        path: Path,
        frames: int,
        *,
        fps: float = 10.0,
        size: tuple[int, int] = (48, 80),
        times: Sequence[float] | None = None,
        noise: int = 0,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(noise)
        base = Fraction(1, 1000)
        stamps = [k / fps for k in range(frames)] if times is None else times
        options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
        with av.open(str(path), "w", options=options) as container:
            rate = Fraction(fps).limit_denominator(1001)
            stream = container.add_stream("libx264", rate=rate, options={"crf": "8", "g": "12"})
            stream.height, stream.width = size
            stream.pix_fmt = "yuv444p"
            stream.codec_context.time_base = base
            for k, stamp in enumerate(stamps):
                texture = rng.integers(-3, 4, (*size, 1))
                texture -= round(texture.mean())
                image = np.clip(k * LEVEL + texture, 0, 255).astype(np.uint8).repeat(3, axis=2)
                if k == 0:
                    image[:] = 0
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = round(stamp / base), base
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return write
