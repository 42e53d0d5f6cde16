"""The shapes of the tabletop: their sizes, and which bodies there are of each."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from cosmos_sim.envs.twin.instructions import SHAPES

Size = tuple[float, float, float]

SIZES: dict[str, Size] = {
    "cube": (0.0225, 0.0225, 0.0225),
    "can": (0.023, 0.023, 0.027),
    "block": (0.041, 0.019, 0.019),
    "bowl": (0.064, 0.064, 0.021),
    "tray": (0.056, 0.074, 0.012),
}
"""Half of each shape's extent along its own axes in metres; its body's origin is in the middle. None is so tall that
the palm touches it while the fingers reach down to the table beside it."""

BODIES: dict[str, str] = {f"{shape}_{letter}": shape for shape in SHAPES for letter in "ab"}
"""Body to shape. Which two of a shape are in use, and in which colours, is another matter in each episode."""

BOTTOM = 0.004
"""How thick the bottom of a container is."""
WALL = 0.003
"""Half of how thick its walls are."""


def radius(shape: str) -> float:
    """Of the upright cylinder that ``shape`` fits in, whichever way it is turned about the vertical."""
    x, y, _ = SIZES[shape]
    return float(x if shape in ("can", "bowl") else np.hypot(x, y))


def is_inside(shape: str, place: Float[ndarray, "3"]) -> bool:
    """Whether ``place``, in a container's own axes, is within its walls and at most 2 cm above its rim."""
    x, y, z = SIZES[shape]
    if shape == "bowl":
        within = np.hypot(*place[:2]) < x - WALL
    else:
        within = abs(place[0]) < x - WALL and abs(place[1]) < y - WALL
    return bool(within and abs(place[2]) < z + 0.02)
