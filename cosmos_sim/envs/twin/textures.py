"""Procedural textures: a pattern of two colours, the same for the same seed."""

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

Colour = tuple[float, float, float]
"""Red, green and blue (sRGB), each in 0 to 1."""

_Pattern = Callable[[np.random.Generator, Float[ndarray, "n n"], Float[ndarray, "n n"]], Float[ndarray, "n n"]]


def paint(
    pattern: str, first: Colour, second: Colour, *, periods: float, seed: int, size: int
) -> UInt8[ndarray, "size size 3"]:
    """A square texture of ``pattern`` (one of :data:`PATTERNS`) whose ground is ``first`` and figure ``second``.

    The pattern repeats about ``periods`` times from edge to edge. A little grain, 2 % of full scale, is on everything.
    """
    rng = np.random.default_rng(seed)
    across, down = np.meshgrid(*[(np.arange(size) + 0.5) / size * periods] * 2)
    share = PATTERNS[pattern](rng, across, down)[..., None]
    colours = np.asarray(first) * (1 - share) + np.asarray(second) * share
    grain = 0.02 * _noise(rng, size, cells=size // 4)[..., None]
    return np.rint(np.clip(colours + grain, 0, 1) * 255).astype(np.uint8)


def _noise(rng: np.random.Generator, size: int, *, cells: int, stretch: int = 1) -> Float[ndarray, "n n"]:
    """Smooth noise of mean 0 and deviation about a half with ``cells`` bumps across, ``stretch`` times fewer down."""
    coarse = rng.normal(0, 0.5, (max(2, cells // stretch), max(2, cells)))
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)


def _turbulence(rng: np.random.Generator, size: int, *, cells: float, stretch: int = 1) -> Float[ndarray, "n n"]:
    return sum((_noise(rng, size, cells=round(cells * 2**k), stretch=stretch) / 2**k for k in range(4)), np.zeros(1))


def _plain(rng: np.random.Generator, x: ndarray, y: ndarray) -> ndarray:
    return np.zeros_like(x)


def _wood(rng: np.random.Generator, x: ndarray, y: ndarray) -> ndarray:
    """Boards side by side, one a period, with grain along them and a dark seam between."""
    board = np.floor(x).astype(int)
    tone = rng.uniform(0.0, 0.45, board.max() + 1)[board]
    grain = _turbulence(rng, len(x), cells=6 * x.max(), stretch=12)
    seam = np.abs(x - np.rint(x)) < 0.02
    return np.clip(tone + 0.35 * grain + 0.6 * seam, 0, 1)


def _checker(rng: np.random.Generator, x: ndarray, y: ndarray) -> ndarray:
    return ((np.floor(2 * x) + np.floor(2 * y)) % 2).astype(float)


def _gingham(rng: np.random.Generator, x: ndarray, y: ndarray) -> ndarray:
    """Woven checks: full where two bands cross, half where one lies alone."""
    return 0.5 * ((np.floor(2 * x) % 2) + (np.floor(2 * y) % 2))


def _stripes(rng: np.random.Generator, x: ndarray, y: ndarray) -> ndarray:
    return np.floor(2 * x) % 2


def _dots(rng: np.random.Generator, x: ndarray, y: ndarray) -> ndarray:
    x, y = x + 0.5 * (np.floor(y) % 2), y
    return ((x - np.floor(x) - 0.5) ** 2 + (y - np.floor(y) - 0.5) ** 2 < 0.25**2).astype(float)


def _tiles(rng: np.random.Generator, x: ndarray, y: ndarray) -> ndarray:
    """Square tiles that differ a little, with joints between."""
    tone = rng.uniform(0.0, 0.15, (int(y.max()) + 2, int(x.max()) + 2))[
        np.floor(y).astype(int), np.floor(x).astype(int)
    ]
    joint = np.maximum(np.abs(x - np.rint(x)) < 0.03, np.abs(y - np.rint(y)) < 0.03)
    return np.where(joint, 1.0, tone)


def _bricks(rng: np.random.Generator, x: ndarray, y: ndarray) -> ndarray:
    """Bricks of two to one in a running bond, with mortar between."""
    y = 2 * y
    return _tiles(rng, x + 0.5 * (np.floor(y) % 2), y)


def _marble(rng: np.random.Generator, x: ndarray, y: ndarray) -> ndarray:
    veins = np.abs(np.sin(np.pi * (x + y) + 4 * _turbulence(rng, len(x), cells=2 * x.max())))
    return np.clip(1 - 5 * veins, 0, 1) * 0.8 + 0.1


def _cloth(rng: np.random.Generator, x: ndarray, y: ndarray) -> ndarray:
    """A plain weave: fine threads under slow folds."""
    threads = 0.25 * (np.sin(16 * np.pi * x) * np.sin(16 * np.pi * y) + 1)
    return np.clip(threads + 0.3 * _noise(rng, len(x), cells=6), 0, 1)


def _panels(rng: np.random.Generator, x: ndarray, y: ndarray) -> ndarray:
    """Upright boards, one a period, with a seam between."""
    return np.where(
        np.abs(x - np.rint(x)) < 0.04, 1.0, rng.uniform(0.0, 0.12, int(x.max()) + 2)[np.floor(x).astype(int)]
    )


def _folds(rng: np.random.Generator, x: ndarray, y: ndarray) -> ndarray:
    """A curtain: upright folds, light on one side and dark on the other."""
    return 0.5 + 0.5 * np.sin(2 * np.pi * x + 0.6 * _noise(rng, len(x), cells=4))


PATTERNS: dict[str, _Pattern] = {
    "plain": _plain,
    "wood": _wood,
    "checker": _checker,
    "gingham": _gingham,
    "stripes": _stripes,
    "dots": _dots,
    "tiles": _tiles,
    "bricks": _bricks,
    "marble": _marble,
    "cloth": _cloth,
    "panels": _panels,
    "folds": _folds,
}
"""Pattern to the share of the second colour at each place; coordinates count periods."""


def distance(first: Colour, second: Colour) -> float:
    """How different two colours look: their distance in CIELAB (CIE76; white and black are 100 apart)."""
    pixels = np.asarray([[first, second]], np.float32)
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)[0]
    return float(np.linalg.norm(lab[0] - lab[1]))
