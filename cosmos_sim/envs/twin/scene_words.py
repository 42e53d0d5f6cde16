"""The words of scenes, and what they look like.

What the test scenes show (a purple cube, an orange dish, a beige and a black cloth, a spotlight from the left, balls
and capsules, black panels, an open cabinet) is nowhere here, nor anything close to it in colour.
"""

from dataclasses import dataclass

from cosmos_sim.envs.twin.textures import Colour

CAPTION = (
    "a robot arm over [TABLE]. on the table rest [COLOR_CUBE] cube and [COLOR_DISH] dish. "
    "[SENTENCE_LIGHT] [SENTENCE_BACKGROUND]"
)
"""What a scene is described by; each slot is filled by one of :data:`TRAIN_PHRASES`."""

WRIST_CAPTION = "a robot hand over [TABLE]. below the hand rests [COLOR_CUBE] cube. [SENTENCE_LIGHT]"
"""The same for the camera on the hand, which sees less."""

CUBES: dict[str, Colour] = {
    "a red": (0.78, 0.10, 0.12),
    "a pink": (0.95, 0.50, 0.62),
    "a yellow": (0.92, 0.80, 0.12),
    "an orange": (0.93, 0.48, 0.06),
    "a brown": (0.42, 0.25, 0.13),
    "a lime": (0.58, 0.86, 0.16),
    "a green": (0.10, 0.55, 0.18),
    "an olive": (0.42, 0.44, 0.12),
    "a teal": (0.05, 0.52, 0.52),
    "a light blue": (0.42, 0.72, 0.93),
    "a blue": (0.08, 0.30, 0.80),
    "a black": (0.06, 0.06, 0.07),
    "a grey": (0.50, 0.50, 0.51),
    "a white": (0.94, 0.94, 0.94),
}

DISHES: dict[str, Colour] = {
    "a grey": (0.52, 0.52, 0.53),
    "a white": (0.94, 0.94, 0.93),
    "a black": (0.07, 0.07, 0.08),
    "a red": (0.74, 0.08, 0.12),
    "a pink": (0.93, 0.56, 0.66),
    "a brown": (0.36, 0.22, 0.14),
    "a lemon": (0.90, 0.88, 0.30),
    "a green": (0.14, 0.52, 0.22),
    "a mint": (0.60, 0.88, 0.72),
    "a turquoise": (0.10, 0.66, 0.66),
    "a blue": (0.12, 0.30, 0.74),
    "a purple": (0.46, 0.20, 0.62),
}


@dataclass(frozen=True)
class Paint:
    """A pattern and its two colours, ``period`` metres from one repetition to the next."""

    pattern: str
    first: Colour
    second: Colour
    period: float


TABLES: dict[str, Paint] = {
    "a white table": Paint("plain", (0.93, 0.93, 0.91), (0.93, 0.93, 0.91), 0.1),
    "a grey table": Paint("plain", (0.58, 0.58, 0.60), (0.58, 0.58, 0.60), 0.1),
    "a blue table": Paint("plain", (0.22, 0.40, 0.66), (0.22, 0.40, 0.66), 0.1),
    "a green table": Paint("plain", (0.26, 0.50, 0.36), (0.26, 0.50, 0.36), 0.1),
    "a light blue table": Paint("plain", (0.58, 0.76, 0.90), (0.58, 0.76, 0.90), 0.1),
    "a navy table": Paint("plain", (0.12, 0.17, 0.40), (0.12, 0.17, 0.40), 0.1),
    "a dark grey table": Paint("plain", (0.30, 0.30, 0.32), (0.30, 0.30, 0.32), 0.1),
    "a white wooden table": Paint("wood", (0.90, 0.90, 0.89), (0.66, 0.66, 0.66), 0.13),
    "an oak table": Paint("wood", (0.72, 0.50, 0.28), (0.50, 0.32, 0.16), 0.13),
    "a red wooden table": Paint("wood", (0.56, 0.24, 0.16), (0.36, 0.13, 0.09), 0.13),
    "a walnut table": Paint("wood", (0.38, 0.25, 0.17), (0.24, 0.15, 0.10), 0.13),
    "a white marble table": Paint("marble", (0.93, 0.93, 0.94), (0.62, 0.63, 0.66), 0.30),
    "a green marble table": Paint("marble", (0.22, 0.44, 0.36), (0.72, 0.82, 0.76), 0.30),
    "a table with white tiles": Paint("tiles", (0.92, 0.93, 0.94), (0.55, 0.56, 0.58), 0.10),
    "a table with blue tiles": Paint("tiles", (0.24, 0.46, 0.70), (0.86, 0.88, 0.90), 0.10),
    "a table with brick tiles": Paint("bricks", (0.64, 0.32, 0.22), (0.80, 0.78, 0.76), 0.16),
    "a table with a grey cloth": Paint("cloth", (0.56, 0.57, 0.60), (0.42, 0.43, 0.46), 0.10),
    "a table with a blue cloth": Paint("cloth", (0.24, 0.38, 0.70), (0.14, 0.24, 0.52), 0.10),
    "a table with a red cloth": Paint("cloth", (0.72, 0.16, 0.18), (0.52, 0.10, 0.13), 0.10),
    "a table with a green cloth": Paint("cloth", (0.24, 0.54, 0.28), (0.14, 0.38, 0.18), 0.10),
    "a table with a pink cloth": Paint("cloth", (0.92, 0.62, 0.72), (0.80, 0.46, 0.58), 0.10),
    "a table with a yellow cloth": Paint("cloth", (0.92, 0.80, 0.24), (0.80, 0.64, 0.12), 0.10),
    "a table with a blue checkered cloth": Paint("gingham", (0.93, 0.93, 0.94), (0.16, 0.34, 0.74), 0.10),
    "a table with a red checkered cloth": Paint("gingham", (0.94, 0.93, 0.93), (0.76, 0.12, 0.14), 0.10),
    "a table with a green checkered cloth": Paint("gingham", (0.93, 0.94, 0.93), (0.12, 0.52, 0.24), 0.10),
    "a table with a grey striped cloth": Paint("stripes", (0.92, 0.92, 0.93), (0.50, 0.51, 0.54), 0.09),
    "a table with a blue striped cloth": Paint("stripes", (0.92, 0.93, 0.94), (0.22, 0.42, 0.72), 0.09),
    "a table with a dotted cloth": Paint("dots", (0.36, 0.62, 0.70), (0.94, 0.94, 0.94), 0.08),
}


@dataclass(frozen=True)
class Behind:
    """What stands behind the arm: a wall, and a closed cabinet of a colour, or none."""

    wall: Paint
    floor: Colour
    cabinet: Colour | None = None


_GREY_WALL = Paint("plain", (0.50, 0.50, 0.51), (0.50, 0.50, 0.51), 0.1)

BACKGROUNDS: dict[str, Behind] = {
    "behind it stands a white cabinet.": Behind(_GREY_WALL, (0.8, 0.8, 0.8), (0.90, 0.90, 0.89)),
    "behind it stands a blue cabinet.": Behind(_GREY_WALL, (0.8, 0.8, 0.8), (0.24, 0.40, 0.62)),
    "behind it stands a green cabinet.": Behind(_GREY_WALL, (0.8, 0.8, 0.8), (0.36, 0.54, 0.40)),
    "behind it stands a brown cabinet.": Behind(_GREY_WALL, (0.8, 0.8, 0.8), (0.50, 0.32, 0.20)),
    "behind it stands a grey cabinet.": Behind(_GREY_WALL, (0.8, 0.8, 0.8), (0.46, 0.46, 0.48)),
    "behind it stands a red cabinet.": Behind(_GREY_WALL, (0.8, 0.8, 0.8), (0.62, 0.20, 0.18)),
    "behind it stands a yellow cabinet.": Behind(_GREY_WALL, (0.8, 0.8, 0.8), (0.86, 0.72, 0.28)),
    "behind it is a grey wall.": Behind(_GREY_WALL, (0.8, 0.8, 0.8)),
    "behind it is a white wall.": Behind(Paint("plain", (0.9, 0.9, 0.89), (0.9, 0.9, 0.89), 0.1), (0.9, 0.9, 0.9)),
    "behind it is a brick wall.": Behind(
        Paint("bricks", (0.60, 0.28, 0.20), (0.76, 0.74, 0.72), 0.22), (0.7, 0.7, 0.7)
    ),
    "behind it is a tiled wall.": Behind(Paint("tiles", (0.50, 0.72, 0.74), (0.92, 0.92, 0.92), 0.12), (0.9, 0.9, 0.9)),
    "behind it are wooden panels.": Behind(
        Paint("panels", (0.62, 0.42, 0.24), (0.36, 0.22, 0.12), 0.15), (0.7, 0.6, 0.5)
    ),
    "behind it are green panels.": Behind(
        Paint("panels", (0.34, 0.56, 0.42), (0.18, 0.34, 0.24), 0.15), (0.7, 0.7, 0.6)
    ),
    "behind it hangs a red curtain.": Behind(
        Paint("folds", (0.70, 0.18, 0.20), (0.40, 0.08, 0.10), 0.12), (0.6, 0.6, 0.6)
    ),
    "behind it hangs a blue curtain.": Behind(
        Paint("folds", (0.30, 0.44, 0.72), (0.14, 0.22, 0.44), 0.12), (0.6, 0.6, 0.6)
    ),
}

LIGHTS = (
    "the light is bright and even.",
    "the light is dim.",
    "the light is warm.",
    "the light is cool and blue.",
    "the light comes from the right.",
    "the light comes from behind.",
    "a lamp shines from the right.",
    "a lamp hangs above the table.",
)

TRAIN_PHRASES: dict[str, tuple[str, ...]] = {
    "TABLE": tuple(TABLES),
    "COLOR_CUBE": tuple(CUBES),
    "COLOR_DISH": tuple(DISHES),
    "SENTENCE_LIGHT": LIGHTS,
    "SENTENCE_BACKGROUND": tuple(BACKGROUNDS),
}
"""Slot of :data:`CAPTION` to the phrases that random scenes fill it with."""

KEPT_OUTLINES: dict[str, tuple[str, ...]] = TRAIN_PHRASES | {
    "TABLE": tuple(words for words, table in TABLES.items() if table.pattern in ("plain", "cloth", "wood")),
    "SENTENCE_BACKGROUND": tuple(words for words, behind in BACKGROUNDS.items() if behind.cabinet is not None),
}
"""Those of :data:`TRAIN_PHRASES` that leave the outlines of the scene ``base`` as they are, and change its colours,
materials and light: what a world that is held to a video's edges can make of it."""
