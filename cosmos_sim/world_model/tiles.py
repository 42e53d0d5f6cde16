"""An image cut into overlapping tiles, and tiles blended into an image without seams."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Tiling:
    """Tiles of at most ``size`` x ``size`` pixels that share at least ``overlap`` pixels with their neighbours.

    Near its edges a tile does not see what a network would see in the whole image. Hence the outer quarter of an
    overlap is left to the neighbour, and the two are mixed linearly over the half between.
    """

    size: int = 384
    overlap: int = 64

    def __post_init__(self) -> None:
        if self.overlap < 0:
            raise ValueError(f"tiles cannot overlap by {self.overlap} pixels")
        if self.size < max(4 * self.overlap, 1):
            raise ValueError(f"tiles of {self.size} pixels are too small to overlap by {self.overlap}: 4 x or more")


@dataclass(frozen=True)
class Span:
    """One tile along one axis, in cells: what it covers, and what of that its neighbours cover, too."""

    start: int
    stop: int
    head: int
    tail: int

    def weight(self, scale: int) -> Float[Tensor, "n"]:
        """This tile's share of every one of its pixels, at ``scale`` pixels a cell; with its neighbours' it is 1."""
        weight = torch.ones((self.stop - self.start) * scale)
        if self.head:
            weight[: self.head * scale] = _rise(self.head * scale)
        if self.tail:
            weight[-self.tail * scale :] = 1 - _rise(self.tail * scale)
        return weight


@dataclass(frozen=True)
class Tile:
    """A rectangle of cells."""

    rows: Span
    columns: Span

    def of(self, image: Tensor, scale: int) -> Tensor:
        """The tile's part of an image ``... h w`` that has ``scale`` pixels a cell."""
        rows, columns = self.rows, self.columns
        return image[..., rows.start * scale : rows.stop * scale, columns.start * scale : columns.stop * scale]


def cut(height: int, width: int, tiling: Tiling | None, *, cell: int) -> tuple[Tile, ...]:
    """The tiles of an image of ``height`` x ``width`` cells of ``cell`` pixels, row by row; one without a tiling."""
    if tiling is None:
        return (Tile(Span(0, height, 0, 0), Span(0, width, 0, 0)),)
    size, overlap = max(1, tiling.size // cell), math.ceil(tiling.overlap / cell)
    return tuple(Tile(r, c) for r in _spans(height, size, overlap) for c in _spans(width, size, overlap))


def blend(
    tiles: Sequence[Tile], network: Callable[[int, Tile], Tensor], *, height: int, width: int, scale: int
) -> Tensor:
    """The image ``... h w`` of ``height`` x ``width`` cells, put together from ``network(index, tile)`` of each tile.

    The network gives ``scale`` pixels a cell. Mixed in fp32; an image of one tile is passed on as it is.
    """
    if len(tiles) == 1:
        return network(0, tiles[0])
    whole: Tensor | None = None
    for index, tile in enumerate(tiles):
        part = network(index, tile)
        if whole is None:
            whole = part.new_zeros(*part.shape[:-2], height * scale, width * scale, dtype=torch.float32)
        weight = tile.rows.weight(scale)[:, None] * tile.columns.weight(scale)
        tile.of(whole, scale).addcmul_(part.float(), weight.to(part.device))
    assert whole is not None
    return whole


def _spans(cells: int, size: int, overlap: int) -> list[Span]:
    """Tiles of equal size, evenly placed: as few of at most ``size`` cells as cover ``cells``."""
    if cells <= size:
        return [Span(0, cells, 0, 0)]
    count = math.ceil((cells - overlap) / (size - overlap))
    size = math.ceil((cells + (count - 1) * overlap) / count)
    starts = [i * (cells - size) // (count - 1) for i in range(count)]
    shared = [0, *(a + size - b for a, b in pairwise(starts)), 0]
    return [Span(s, s + size, shared[i], shared[i + 1]) for i, s in enumerate(starts)]


def _rise(n: int) -> Float[Tensor, "n"]:
    """0 over the first quarter of ``n`` pixels, 1 over the last, linear between."""
    return (((torch.arange(n) + 0.5) / n - 0.25) * 2).clamp(0, 1)
