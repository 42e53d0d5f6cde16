"""How the tabletop's surroundings may look: those of training, and others that training never shows."""

from dataclasses import dataclass

import mujoco
import numpy as np

from cosmos_sim.envs.twin.scene import Surface
from cosmos_sim.envs.twin.textures import Colour, paint

TEXTURE, TEXTURE_PIXELS = "tabletop", 256
_TABLE_WIDTH = 0.8

PAINT: dict[str, Colour] = {
    "red": (0.78, 0.04, 0.05),
    "orange": (0.97, 0.42, 0.02),
    "yellow": (0.96, 0.84, 0.06),
    "green": (0.06, 0.52, 0.12),
    "blue": (0.05, 0.18, 0.78),
    "purple": (0.46, 0.10, 0.62),
    "white": (0.95, 0.95, 0.95),
    "black": (0.10, 0.10, 0.11),
}
"""What the words for colours look like on objects."""


@dataclass(frozen=True)
class Look:
    """The table's top, and the tints of the floor and of the walls."""

    table: Surface
    floor: Colour
    wall: Colour


LOOKS: dict[str, Look] = {
    "grey": Look(Surface("plain", (0.55, 0.55, 0.57), (0.55, 0.55, 0.57)), (0.9, 0.9, 0.9), (0.9, 0.9, 0.9)),
    "oak": Look(Surface("wood", (0.66, 0.50, 0.33), (0.50, 0.36, 0.22), 0.13, 1), (0.8, 0.8, 0.8), (0.9, 0.88, 0.8)),
    "sage": Look(Surface("plain", (0.52, 0.62, 0.54), (0.52, 0.62, 0.54)), (0.75, 0.7, 0.62), (0.85, 0.9, 0.86)),
    "stone": Look(
        Surface("marble", (0.62, 0.62, 0.64), (0.50, 0.50, 0.53), 0.3, 2), (0.6, 0.62, 0.66), (0.8, 0.8, 0.82)
    ),
    "sand": Look(Surface("cloth", (0.68, 0.62, 0.50), (0.58, 0.52, 0.41), 0.1, 3), (0.85, 0.8, 0.7), (0.9, 0.85, 0.75)),
}
"""The looks of training."""

UNSEEN_LOOKS: dict[str, Look] = {
    "slate": Look(Surface("plain", (0.33, 0.40, 0.47), (0.33, 0.40, 0.47)), (0.5, 0.6, 0.75), (0.6, 0.7, 0.85)),
    "tiles": Look(
        Surface("tiles", (0.62, 0.55, 0.52), (0.42, 0.38, 0.36), 0.1, 4), (0.55, 0.45, 0.4), (0.8, 0.65, 0.55)
    ),
    "checker": Look(
        Surface("checker", (0.60, 0.58, 0.56), (0.46, 0.46, 0.46), 0.16, 5), (0.4, 0.4, 0.42), (0.55, 0.5, 0.6)
    ),
    "rose": Look(Surface("plain", (0.70, 0.54, 0.55), (0.70, 0.54, 0.55)), (0.7, 0.78, 0.7), (0.75, 0.85, 0.75)),
}
"""The looks of the split ``unseen_environments``."""


def draw_look(rng: np.random.Generator, split: str) -> Look:
    """A look as ``split`` shows it."""
    looks = list((UNSEEN_LOOKS if split == "unseen_environments" else LOOKS).values())
    return looks[int(rng.integers(len(looks)))]


def show_look(model: mujoco.MjModel, look: Look) -> list[int]:
    """Let ``model`` look like ``look``; returns the textures that a renderer has to take over."""
    model.mat("floorplane").rgba[:3] = look.floor
    model.mat("walls_mat").rgba[:3] = look.wall
    texture, surface = model.tex(TEXTURE), look.table
    periods, size = _TABLE_WIDTH / surface.period, int(texture.width[0])
    pixels = paint(surface.pattern, surface.first, surface.second, periods=periods, seed=surface.seed, size=size)
    model.tex_data[texture.adr[0] : texture.adr[0] + pixels.size] = pixels.ravel()
    return [int(texture.id)]
