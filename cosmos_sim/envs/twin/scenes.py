"""The scenes that have names: the one in which demonstrations are recorded, and nine that no training shows.

They are the ten of the Cosmos-Predict2.5 paper's Table 13, as the Lift task can show them.
"""

import difflib
from dataclasses import replace

from cosmos_sim.envs.twin.scene import Cabinet, Lamp, Light, Prop, Scene, Surface, Words

_BASE = Scene(
    words=Words(
        table="a white table",
        cube="a red",
        dish="a grey",
        light="the light is bright and even.",
        background="behind it stands a white cabinet.",
    ),
    table=Surface("plain", (0.93, 0.93, 0.91), (0.93, 0.93, 0.91)),
    cube=(0.78, 0.10, 0.12),
    dish=(0.52, 0.52, 0.53),
    wall=Surface("plain", (0.50, 0.50, 0.51), (0.50, 0.50, 0.51)),
    floor=(0.8, 0.8, 0.8),
    light=Light(),
    cabinet=Cabinet((0.90, 0.90, 0.89)),
)

_PURPLE_CUBE = {"cube": (0.42, 0.10, 0.60)}
_ORANGE_DISH = {"dish": (0.95, 0.48, 0.05)}
_BEIGE_TABLE = {"table": Surface("cloth", (0.82, 0.71, 0.52), (0.78, 0.68, 0.49))}


def _with_words(scene: Scene, **words: str) -> Scene:
    return replace(scene, words=replace(scene.words, **words))


SCENES: dict[str, Scene] = {
    "base": _BASE,
    "purple_cube": _with_words(replace(_BASE, cube=_PURPLE_CUBE["cube"]), cube="a purple"),
    "orange_dish": _with_words(replace(_BASE, dish=_ORANGE_DISH["dish"]), dish="an orange"),
    "beige_cloth": _with_words(replace(_BASE, table=_BEIGE_TABLE["table"]), table="a table with a beige cloth"),
    "black_cloth": _with_words(
        replace(_BASE, table=Surface("cloth", (0.06, 0.06, 0.07), (0.10, 0.10, 0.11))),
        table="a table with a black cloth",
    ),
    "spotlight": _with_words(
        replace(
            _BASE,
            light=Light(
                ambient=0.14,
                fill=0.2,
                strength=0.08,
                lamp=Lamp((0.05, -0.55, 1.3), (0.0, -0.05, 0.8), (1.0, 0.98, 0.85), 24.0),
            ),
        ),
        light="a spotlight shines from the left.",
    ),
    "distractors": replace(
        _BASE,
        props=(
            Prop("ball", (0.032, 0.032, 0.032), (0.95, 0.85, 0.10), (-0.24, -0.17)),
            Prop("capsule", (0.016, 0.016, 0.045), (0.90, 0.25, 0.65), (0.075, 0.085), 2.4),
            Prop("egg", (0.03, 0.022, 0.022), (0.20, 0.85, 0.75), (-0.25, 0.15), 0.4),
        ),
    ),
    "black_panels": _with_words(
        replace(_BASE, wall=Surface("panels", (0.07, 0.07, 0.08), (0.02, 0.02, 0.02), period=0.15), cabinet=None),
        background="behind it are black panels.",
    ),
    "open_cabinet": _with_words(
        replace(_BASE, cabinet=Cabinet((0.90, 0.90, 0.89), open=True)),
        background="behind it stands a white cabinet with open drawers.",
    ),
    "combo": _with_words(
        replace(_BASE, cube=_PURPLE_CUBE["cube"], dish=_ORANGE_DISH["dish"], table=_BEIGE_TABLE["table"]),
        cube="a purple",
        dish="an orange",
        table="a table with a beige cloth",
    ),
}
"""Scene by name: ``base``, and the test scenes."""

TEST_SCENES = tuple(name for name in SCENES if name != "base")


def find_scene(name: str) -> Scene:
    """The scene called ``name``; a ``ValueError`` with a suggestion where there is none."""
    if name in SCENES:
        return SCENES[name]
    close = difflib.get_close_matches(str(name), SCENES, n=1, cutoff=0.4)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"Unknown scene {name!r}; there are {', '.join(SCENES)}.{hint}")
