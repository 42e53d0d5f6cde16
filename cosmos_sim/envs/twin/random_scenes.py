"""Scenes drawn at random, all of whose appearances stay away from those of the test scenes."""

import colorsys
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np

from cosmos_sim.envs.twin.scene import Cabinet, CameraShift, Lamp, Light, Prop, Scene, Surface, Words, draw_dish_place
from cosmos_sim.envs.twin.scene_words import BACKGROUNDS, CUBES, DISHES, LIGHTS, TABLES, Paint
from cosmos_sim.envs.twin.scenes import TEST_SCENES, find_scene
from cosmos_sim.envs.twin.textures import Colour, distance

MIN_CONTRAST = 36.0
"""The least distance in CIELAB between the cube's colour and either colour of the table; half of it for the dish's."""

PROP_SHARE = 0.15
"""The share of random scenes that have props on the table."""

_PROP_COLOURS: tuple[Colour, ...] = ((0.15, 0.35, 0.60), (0.20, 0.45, 0.30), (0.60, 0.15, 0.15), (0.55, 0.55, 0.58))


def random_scene(rng: np.random.Generator, *, split: Literal["train", "test"] = "train") -> Scene:
    """A scene drawn by ``rng``: of the words for training, each jittered, or (``split="test"``) one of the test scenes.

    Raises:
        ValueError: for another ``split``.
    """
    if split == "test":
        return find_scene(TEST_SCENES[int(rng.integers(len(TEST_SCENES)))])
    if split != "train":
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    table_words = _choose(rng, tuple(TABLES))
    table = _painted(rng, TABLES[table_words])
    cube_words, cube = _contrasting(rng, CUBES, table, MIN_CONTRAST)
    dish_words, dish = _contrasting(rng, DISHES, table, MIN_CONTRAST / 2)
    light_words = _choose(rng, LIGHTS)
    background_words = _choose(rng, tuple(BACKGROUNDS))
    behind = BACKGROUNDS[background_words]
    dish_place = draw_dish_place(rng)
    return Scene(
        words=Words(table_words, cube_words, dish_words, light_words, background_words),
        table=table,
        cube=cube,
        dish=dish,
        wall=_painted(rng, behind.wall),
        floor=behind.floor,
        light=_light(rng, light_words),
        dish_place=dish_place,
        cabinet=None if behind.cabinet is None else Cabinet(_jittered(rng, behind.cabinet)),
        props=_props(rng, dish_place) if rng.random() < PROP_SHARE else (),
        camera=CameraShift(
            position=_triple(rng.uniform(-0.02, 0.02, 3)),
            target=_triple(rng.uniform(-0.012, 0.012, 3)),
            degrees=float(rng.uniform(-1, 1)),
        ),
    )


def _choose(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[int(rng.integers(len(words)))]


def _contrasting(
    rng: np.random.Generator, colours: Mapping[str, Colour], table: Surface, least: float
) -> tuple[str, Colour]:
    """One of ``colours``, in words and as it is, at least at the distance ``least`` from those of ``table``."""
    while True:
        words = _choose(rng, tuple(colours))
        colour = _jittered(rng, colours[words])
        if min(distance(colour, table.first), distance(colour, table.second)) >= least:
            return words, colour


def _painted(rng: np.random.Generator, paint: Paint) -> Surface:
    first, second = _jittered(rng, paint.first), _jittered(rng, paint.second)
    return Surface(
        pattern=paint.pattern,
        first=first,
        second=first if paint.second == paint.first else second,
        period=paint.period * float(rng.uniform(0.85, 1.2)),
        seed=int(rng.integers(2**31)),
    )


def _jittered(rng: np.random.Generator, colour: Colour) -> Colour:
    """``colour`` with hue, saturation and value moved a little, within what its word still means."""
    hue, saturation, value = colorsys.rgb_to_hsv(*colour)
    hue = (hue + rng.uniform(-0.012, 0.012)) % 1
    saturation = float(np.clip(saturation * rng.uniform(0.88, 1.1), 0, 1))
    value = float(np.clip(value * rng.uniform(0.9, 1.08), 0, 1))
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red, 4), round(green, 4), round(blue, 4)


def _light(rng: np.random.Generator, words: str) -> Light:
    """The light that the phrase ``words`` of :data:`LIGHTS` stands for."""
    gain = float(rng.uniform(0.92, 1.06))
    lean = rng.uniform(-0.15, 0.15, 2)
    usual = Light()
    x, y, z = usual.direction
    light = replace(usual, strength=usual.strength * gain, direction=(x + float(lean[0]), y + float(lean[1]), z))
    if words == "the light is dim.":
        return replace(light, ambient=0.2, fill=0.08, strength=0.3 * gain)
    if words == "the light is warm.":
        return replace(light, colour=(1.0, 0.95, 0.86))
    if words == "the light is cool and blue.":
        return replace(light, colour=(0.84, 0.92, 1.0))
    if words == "the light comes from the right.":
        return replace(light, ambient=0.25, strength=0.85 * gain, direction=(-0.3, -1.2 + float(lean[1]), -1.0))
    if words == "the light comes from behind.":
        return replace(light, ambient=0.25, strength=0.85 * gain, direction=(1.0, float(lean[1]), -1.0))
    place = (0.2 * float(lean[0]), 0.2 * float(lean[1]))
    if words == "a lamp shines from the right.":
        lamp = Lamp(
            (0.05 + place[0], 0.5, 1.35), (0.0, 0.05 + place[1], 0.8), (0.7 * gain, 0.68 * gain, 0.6 * gain), 40.0
        )
        return replace(light, ambient=0.3, strength=0.15, lamp=lamp)
    if words == "a lamp hangs above the table.":
        lamp = Lamp(
            (-0.1 + place[0], place[1], 1.6), (-0.05, place[1], 0.8), (0.7 * gain, 0.7 * gain, 0.68 * gain), 25.0
        )
        return replace(light, ambient=0.3, strength=0.12, lamp=lamp)
    assert words == "the light is bright and even.", words
    return light


def _props(rng: np.random.Generator, dish_place: tuple[float, float]) -> tuple[Prop, ...]:
    """A can or a box or both, behind the dish and on the other side of the table."""
    props: list[Prop] = []
    for side in (-1, 1):
        if rng.random() < 0.4 and props:
            continue
        shape = _choose(rng, ("can", "box"))
        width = float(rng.uniform(0.016, 0.026))
        size = (width, width, float(rng.uniform(0.02, 0.04)))
        x = float(rng.uniform(-0.32, -0.22))
        if side * dish_place[1] < 0:
            x = float(rng.uniform(-0.25, 0.0))
        place = (x, side * float(rng.uniform(0.14, 0.18)))
        colour = _jittered(rng, _PROP_COLOURS[int(rng.integers(len(_PROP_COLOURS)))])
        props.append(Prop(shape, size, colour, place, float(rng.uniform(0, np.pi))))
    return tuple(props)


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (round(float(value), 5) for value in values)
    return x, y, z
