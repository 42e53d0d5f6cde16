"""Scenes as values: their words, their colours, and how far those for training stay from those for testing."""

import json
from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest
from skimage.color import deltaE_cie76, rgb2lab

from cosmos_sim.envs.twin.random_scenes import MIN_CONTRAST, random_scene
from cosmos_sim.envs.twin.scene import Cabinet, CameraShift, Lamp, Light, Prop, Scene, Surface, Words, draw_dish_place
from cosmos_sim.envs.twin.scene_words import CAPTION, KEPT_OUTLINES, TRAIN_PHRASES
from cosmos_sim.envs.twin.scenes import SCENES, TEST_SCENES, find_scene
from cosmos_sim.envs.twin.tasks import TASKS
from cosmos_sim.envs.twin.textures import PATTERNS, distance, paint

BASE = SCENES["base"]
MARGIN = 15.0


@pytest.fixture(scope="module")
def drawn() -> list[Scene]:
    return [random_scene(np.random.default_rng([5, index])) for index in range(1500)]


def apart(colours: list[tuple[float, float, float]], other: tuple[float, float, float]) -> float:
    """The least distance of ``colours`` from ``other``, by scikit-image."""
    return float(deltaE_cie76(rgb2lab(np.array(colours)), rgb2lab(np.array(other))).min())


def test_distance_is_that_of_scikit_image():
    rng = np.random.default_rng(0)
    for first, second in rng.random((20, 2, 3)):
        assert distance(tuple(first), tuple(second)) == pytest.approx(apart([first], second), rel=0.02)


def test_the_colours_of_the_test_scenes_are_far_from_all_of_training(drawn: list[Scene]):
    assert apart([scene.cube for scene in drawn], SCENES["purple_cube"].cube) > MARGIN
    assert apart([scene.dish for scene in drawn], SCENES["orange_dish"].dish) > MARGIN
    tables = [colour for scene in drawn for colour in (scene.table.first, scene.table.second)]
    for name in ("beige_cloth", "black_cloth"):
        for colour in (SCENES[name].table.first, SCENES[name].table.second):
            assert apart(tables, colour) > MARGIN
    behind = [colour for scene in drawn for colour in (scene.wall.first, scene.wall.second)]
    behind += [scene.cabinet.colour for scene in drawn if scene.cabinet]
    assert apart(behind, SCENES["black_panels"].wall.first) > MARGIN
    props = [prop for scene in drawn for prop in scene.props]
    for prop in SCENES["distractors"].props:
        assert apart([seen.colour for seen in props], prop.colour) > MARGIN
    combo = SCENES["combo"]
    assert (combo.cube, combo.dish) == (SCENES["purple_cube"].cube, SCENES["orange_dish"].dish)
    assert combo.table == SCENES["beige_cloth"].table


def test_what_the_test_scenes_show_is_in_no_scene_for_training(drawn: list[Scene]):
    assert {prop.shape for scene in drawn for prop in scene.props} == {"can", "box"}
    assert not {"can", "box"} & {prop.shape for prop in SCENES["distractors"].props}
    assert not any(scene.cabinet.open for scene in drawn if scene.cabinet)
    spot = SCENES["spotlight"].light.lamp
    assert spot is not None
    lamps = [scene.light.lamp for scene in drawn if scene.light.lamp]
    assert len(lamps) > 100
    for lamp in lamps:
        assert lamp.position[1] - spot.position[1] > 0.4
        ways = [np.subtract(one.target, one.position) for one in (lamp, spot)]
        assert np.dot(*ways) / np.prod(np.linalg.norm(ways, axis=1)) < np.cos(np.radians(30))
    words = {item for name in TEST_SCENES for item in SCENES[name].words.slots().items()}
    new = words - set(BASE.words.slots().items())
    assert len(new) == 7  # all but the distractors have words
    assert not [phrase for slot, phrase in new if phrase in TRAIN_PHRASES[slot]]


def test_all_words_are_drawn_and_the_cube_can_be_seen(drawn: list[Scene]):
    for slot, phrases in TRAIN_PHRASES.items():
        counts = Counter(scene.words.slots()[slot] for scene in drawn)
        assert set(counts) == set(phrases)
        assert min(counts.values()) > 0.3 * len(drawn) / len(phrases)
    for scene in drawn:
        table = [scene.table.first, scene.table.second]
        assert apart(table, scene.cube) > MIN_CONTRAST - 0.1
        assert apart(table, scene.dish) > MIN_CONTRAST / 2 - 0.1
        assert scene.dish_place is not None
        assert all(np.linalg.norm(np.subtract(prop.place, scene.dish_place)) > 0.07 for prop in scene.props)


def test_words_mean_colours(drawn: list[Scene]):
    """The colours of each word keep together: nearer to their own middle than the other words' middles are."""
    for slot, colour in (("cube", "cube"), ("dish", "dish")):
        groups: dict[str, list[tuple[float, float, float]]] = {}
        for scene in drawn:
            groups.setdefault(getattr(scene.words, slot), []).append(getattr(scene, colour))
        middles = {words: np.mean(rgb2lab(np.array(colours)), axis=0) for words, colours in groups.items()}
        right = [
            min(middles, key=lambda w: np.linalg.norm(middles[w] - rgb2lab(np.array(one)))) == words
            for words, colours in groups.items()
            for one in colours
        ]
        assert np.mean(right) > 0.97


def test_captions_are_made_of_the_phrases():
    caption = BASE.caption
    assert caption.caption == (
        "a robot arm over a white table. on the table rest a red cube and a grey dish. "
        "the light is bright and even. behind it stands a white cabinet."
    )
    assert "dish" not in caption.of("wrist")
    assert "white table" in caption.of("wrist")
    assert caption.of("agentview") == caption.caption
    assert set(BASE.words.slots()) == set(TRAIN_PHRASES)
    assert all(f"[{slot}]" in CAPTION for slot in TRAIN_PHRASES)
    text = " ".join(random_scene(np.random.default_rng(s)).caption.caption for s in range(50))
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyz .,")
    for slot, phrases in KEPT_OUTLINES.items():
        assert set(phrases) <= set(TRAIN_PHRASES[slot])
        assert BASE.words.slots()[slot] in phrases


def test_scenes_go_through_json_and_depend_on_the_seed_alone():
    scenes = list(SCENES.values()) + [random_scene(np.random.default_rng(seed)) for seed in range(40)]
    for scene in scenes:
        assert Scene.from_dict(json.loads(json.dumps(scene.to_dict()))) == scene
    assert random_scene(np.random.default_rng(3)) == scenes[len(SCENES) + 3]
    assert len(set(map(repr, scenes))) == len(scenes)
    for change in ({"lamp": 1}, {"words": {"table": "a"}}, {"props": [{"shape": "can"}]}):
        with pytest.raises(ValueError, match="this is not a scene"):
            Scene.from_dict(BASE.to_dict() | change)
    with pytest.raises(ValueError, match="this is not a scene"):
        Scene.from_dict({})


def test_a_test_scene_changes_what_its_name_says():
    changed = {
        name: {f.name for f in fields(Scene) if getattr(SCENES[name], f.name) != getattr(BASE, f.name)} - {"words"}
        for name in TEST_SCENES
    }
    assert changed == {
        "purple_cube": {"cube"},
        "orange_dish": {"dish"},
        "beige_cloth": {"table"},
        "black_cloth": {"table"},
        "spotlight": {"light"},
        "distractors": {"props"},
        "black_panels": {"wall", "cabinet"},
        "open_cabinet": {"cabinet"},
        "combo": {"cube", "dish", "table"},
    }


def test_names_and_splits():
    assert random_scene(np.random.default_rng(1), split="test") in [SCENES[name] for name in TEST_SCENES]
    with pytest.raises(ValueError, match="split must be 'train' or 'test', got 'val'"):
        random_scene(np.random.default_rng(1), split="val")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Unknown scene 'purple_cub'.*Did you mean 'purple_cube'"):
        find_scene("purple_cub")


def test_places_for_the_dish_are_out_of_the_cubes_way():
    places = np.array([draw_dish_place(np.random.default_rng(seed)) for seed in range(300)])
    assert 0.4 < np.mean(places[:, 1] > 0) < 0.6
    # the cube's centre is within 3 cm of the table's and its corners 3.1 cm from it; the dish's radius is 4.5 cm
    assert np.abs(places[:, 1]).min() > 0.03 + 0.031 + 0.045


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Surface("woood", (0, 0, 0), (1, 1, 1)), "unknown pattern 'woood'; did you mean 'wood'"),
        (
            lambda: Surface("wood", (0, 0, 0), (1, 1, 2)),
            r"second must be red, green and blue in 0 to 1, got \(1, 1, 2\)",
        ),
        (lambda: Surface("wood", (0, 0, 0), (1, 1, 1), period=0), "period must be 0.02 to 2 metres, got 0"),
        (lambda: Light(strength=3), "strength must be 0 to 2, got 3"),
        (lambda: Light(direction=(0, 0, 0)), "direction of light"),
        (lambda: Lamp((0, 0, 2), (0, 0, 0), (1, 1, 1), 120), "1 to 90 degrees, got 120"),
        (lambda: Cabinet((1, 1)), "colour must be red"),  # type: ignore[arg-type]
        (lambda: Prop("cone", (0.1, 0.1, 0.1), (1, 1, 1), (0, 0)), "unknown shape 'cone'"),
        (lambda: Prop("box", (0.1, 0.1, 0.2), (1, 1, 1), (0, 0)), r"at most 0.15 metres, got \(0.1, 0.1, 0.2\)"),
        (lambda: replace(BASE, cube=(0, 0, -1)), "cube must be red"),
        (lambda: replace(BASE, props=SCENES["distractors"].props * 2), "at most 4 props, got 6"),
    ],
)
def test_scenes_that_are_wrong(make, message: str):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_camera_is_shifted():
    viewpoint = TASKS["Lift"].agentview
    assert CameraShift().of(viewpoint) == viewpoint
    shifted = CameraShift(position=(0.01, -0.02, 0.03), degrees=1.5).of(viewpoint)
    np.testing.assert_allclose(np.subtract(shifted.position, viewpoint.position), (0.01, -0.02, 0.03))
    assert (shifted.target, shifted.degrees) == (viewpoint.target, viewpoint.degrees + 1.5)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_textures_lie_between_their_colours_and_repeat(pattern: str):
    first, second = (0.9, 0.5, 0.1), (0.2, 0.4, 0.6)
    texture = paint(pattern, first, second, periods=5, seed=3, size=96)
    assert texture.shape == (96, 96, 3)
    np.testing.assert_array_equal(texture, paint(pattern, first, second, periods=5, seed=3, size=96))
    assert (texture != paint(pattern, first, second, periods=5, seed=4, size=96)).any()
    pixels = texture.reshape(-1, 3) / 255
    low, high = np.minimum(first, second) - 0.09, np.maximum(first, second) + 0.09
    assert ((pixels > low) & (pixels < high)).all()
    assert (np.linalg.norm(pixels - first, axis=1) < np.linalg.norm(pixels - second, axis=1)).mean() >= 0.45


def test_patterns_have_their_period():
    """Eight stripes in four periods, and as many checks each way."""
    stripes = paint("stripes", (0, 0, 0), (1, 1, 1), periods=4, seed=0, size=128)[..., 0] > 127
    assert (np.diff(stripes[5].astype(int)) != 0).sum() == 7
    assert (stripes == stripes[:1]).all()
    checker = paint("checker", (0, 0, 0), (1, 1, 1), periods=3, seed=0, size=120)[..., 0] > 127
    for line in (checker[7], checker[:, 7]):
        assert (np.diff(line.astype(int)) != 0).sum() == 5


def test_words_are_a_value():
    words = Words("a", "b", "c", "d", "e")
    assert list(words.slots().values()) == ["a", "b", "c", "d", "e"]
