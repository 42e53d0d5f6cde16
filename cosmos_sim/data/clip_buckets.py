"""Clips of one size and length, and how a sample is drawn from them.

Everything here is a pure function of sizes, rates and indices; :mod:`cosmos_sim.data.clips` makes frames of it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

_SLACK = 1e-3
"""The share by which a stated rate may miss a round one (29.97 for 30 is not slower), and by which frames may."""

_ALIKE = 0.1
"""Of the logarithm of aspect ratios: 192x320 and 704x1280 (0.09 apart) are both "16:9"."""


@dataclass(frozen=True, eq=False)
class Bucket:
    """All windows of ``frames`` frames, to be resized to ``size``: they may stand in one batch.

    Windows ``ends[k - 1] .. ends[k] - 1`` are those of item ``items[k]``; they begin at its frames ``0, steps[k], ...``
    """

    size: tuple[int, int]
    frames: int
    items: Int64[ndarray, "n"]
    steps: Int64[ndarray, "n"]
    ends: Int64[ndarray, "n"]

    def __len__(self) -> int:
        return int(self.ends[-1])

    def window(self, index: int) -> tuple[int, int]:
        """The item of window ``index``, and the item's frame at which it begins."""
        k = int(np.searchsorted(self.ends, index, side="right"))
        first = int(self.ends[k - 1]) if k else 0
        return int(self.items[k]), (index - first) * int(self.steps[k])

    def order(self, index: int) -> Iterator[int]:
        """Every window once, beginning with ``index``: who stands in for whom if it is broken.

        The steps are about 0.618 of the whole, so that the next is of another item.
        """
        n = len(self)
        step = next(s for s in range(max(1, int(0.618 * n)), n + 2) if math.gcd(s, n) == 1)
        return ((index + k * step) % n for k in range(n))


def choose_size(size: tuple[int, int], sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Which of ``sizes`` images of ``size`` (height, width) are brought to.

    It is brought to the nearest aspect ratio (by its logarithm). Of the sizes that share this ratio, or almost, as the
    same shape is rounded otherwise at another resolution, the largest that needs no enlarging is taken, else the
    smallest.
    """

    def shape(of: tuple[int, int]) -> float:
        return math.log(of[0] / of[1])

    nearest = min(sizes, key=lambda to: abs(shape(to) - shape(size)))
    alike = sorted((to for to in sizes if abs(shape(to) - shape(nearest)) < _ALIKE), key=math.prod)
    covered = [to for to in alike if to[0] <= size[0] and to[1] <= size[1]]
    return covered[-1] if covered else alike[0]


def too_slow(own: float, fps: float) -> bool:
    """Whether a source of ``own`` frames a second would have to repeat frames at ``fps``."""
    return own < fps * (1 - _SLACK)


def count_windows(length: int, frames: int, step: int, *, own: float, fps: float) -> int:
    """How many windows of ``frames`` frames at ``fps`` begin at frames ``0, step, ...`` of ``length`` at ``own``."""
    last = math.floor(length - 1 - (frames - 1) * own / fps + _SLACK)
    return 0 if last < 0 else last // step + 1


def tolerance(own: float, fps: float) -> float:
    """Seconds within which a frame must be found: half an interval, so that none is found twice."""
    return (0.5 + _SLACK) / min(own, fps)


@dataclass(frozen=True)
class Row:
    """What an item adds to a bucket: ``windows`` of them, every ``step`` frames."""

    size: tuple[int, int]
    frames: int
    item: int
    step: int
    windows: int


def make_buckets(rows: Sequence[Row]) -> list[Bucket]:
    """The buckets that ``rows`` make up, in the order of size and length."""
    groups: dict[tuple[tuple[int, int], int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.size, row.frames), []).append(row)
    return [_bucket(size, frames, groups[size, frames]) for size, frames in sorted(groups)]


def _bucket(size: tuple[int, int], frames: int, rows: Sequence[Row]) -> Bucket:
    items, steps, windows = np.asarray([(row.item, row.step, row.windows) for row in rows], dtype=np.int64).T
    return Bucket(size, frames, items, steps, np.cumsum(windows))
