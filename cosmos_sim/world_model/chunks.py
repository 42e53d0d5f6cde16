"""A long video as overlapping chunks: which frames each begins from, and which of its frames are new."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64
from numpy import ndarray


@dataclass(frozen=True)
class Chunk:
    """Frames ``[start, start + frames)`` of a video, made at once; the first ``given`` of them are there before."""

    index: int
    start: int
    frames: int
    given: int

    @property
    def new(self) -> int:
        """Frames that it adds, were its beginning not written already: all of them in the first chunk."""
        return self.frames if self.index == 0 else self.frames - self.given


def plan_chunks(total: int, *, chunk: int, overlap: int, given: int) -> list[Chunk]:
    """The chunks of a video of ``total`` frames that begins with ``given`` frames.

    Each after the first begins from the last ``overlap`` frames before it; the last is only as long as need be.

    Raises:
        ValueError: a size that leaves nothing to make.
    """
    for name, value, least in (("frames", total, given), ("a chunk", chunk, max(given, overlap))):
        if value <= least:
            raise ValueError(f"{value} for {name} leaves nothing to generate after {least} given")
    if overlap < 1:
        raise ValueError(f"chunks must overlap by at least 1 frame, not {overlap}")
    return [*_chunks(total, chunk, overlap, given)]


def _chunks(total: int, chunk: int, overlap: int, given: int) -> Iterator[Chunk]:
    index = start = 0
    while True:
        frames = min(chunk, total - start)
        yield Chunk(index, start, frames, given)
        if start + frames == total:
            return
        index, start, given = index + 1, start + frames - overlap, overlap


def whole_length(frames: int, temporal: int) -> int:
    """The least ``1 + temporal n`` that is not below ``frames``: what whole latents hold."""
    return 1 + -(-(frames - 1) // temporal) * temporal


def reflected(start: int, count: int, total: int) -> Int64[ndarray, "count"]:
    """Frames ``start .. start + count - 1`` of a video of ``total``, which goes on backwards at its end, and so on.

    ``0 1 2 1 0 1 ...``; of a single frame it is that one again and again.
    """
    if total == 1:
        return np.zeros(count, np.int64)
    place = np.arange(start, start + count, dtype=np.int64) % (2 * (total - 1))
    return np.minimum(place, 2 * (total - 1) - place)
