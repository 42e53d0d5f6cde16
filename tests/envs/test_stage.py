"""Scenes before the cameras: they change pictures where they should, and motion nowhere."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from cosmos_sim.envs.twin.cameras import Cameras
from cosmos_sim.envs.twin.env import CAMERAS, CosmosTwin
from cosmos_sim.envs.twin.random_scenes import random_scene
from cosmos_sim.envs.twin.scene import DISH_PLACES, Prop, Scene, Surface
from cosmos_sim.envs.twin.scenes import SCENES, TEST_SCENES

BASE = SCENES["base"]
NAMES = ("background", "robot", "table", "cube", "dish", "prop", "cabinet")


@pytest.fixture(scope="module")
def plain():
    twin = CosmosTwin("Lift")
    yield twin
    twin.close()


@pytest.fixture(scope="module")
def twin():
    twin = CosmosTwin("Lift", scene="base", render_mode="rgb_array")
    yield twin
    twin.close()


def seen(twin: CosmosTwin, scene: Scene | str, seed: int = 0) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The images and the segments of both cameras at the start of an episode."""
    observation, _ = twin.reset(seed=seed, options={"scene": scene})
    return observation["pixels"], {camera: view.segments for camera, view in twin.annotate().items()}


def mask(segments: np.ndarray, *names: str) -> np.ndarray:
    return np.isin(segments, [NAMES.index(name) for name in names])


def test_a_scene_moves_nothing(plain: CosmosTwin, twin: CosmosTwin):
    rng = np.random.default_rng(0)
    for seed, scene in ((3, "distractors"), (4, "open_cabinet"), (5, random_scene(rng))):
        first, second = plain.reset(seed=seed), twin.reset(seed=seed, options={"scene": scene})
        for _ in range(6):
            np.testing.assert_array_equal(first[0]["agent_pos"], second[0]["agent_pos"])
            for name, value in first[-1]["state"].items():
                np.testing.assert_array_equal(value, second[-1]["state"][name])
            for camera in CAMERAS:
                assert np.abs(first[0]["pixels"][camera].astype(int) - second[0]["pixels"][camera]).mean() > 5
            action = rng.uniform(-1, 1, 7).astype(np.float32)
            first, second = plain.step(action), twin.step(action)
        np.testing.assert_array_equal(plain._simulation.save().physics, twin._simulation.save().physics)
        bodies = plain._simulation.data.xpos, plain._simulation.data.xquat
        posed = twin._posed()
        np.testing.assert_array_equal(bodies[0], posed.xpos)
        np.testing.assert_array_equal(bodies[1], posed.xquat)


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("purple_cube", ("cube",)),
        ("orange_dish", ("dish",)),
        ("beige_cloth", ("table",)),
        ("distractors", ("prop",)),
        ("black_panels", ("background", "cabinet")),
        ("open_cabinet", ("background", "cabinet")),
    ],
)
def test_a_test_scene_changes_the_picture_where_it_says_and_nowhere_else(twin: CosmosTwin, name: str, where: tuple):
    base, base_segments = seen(twin, "base", seed=2)
    images, segments = seen(twin, name, seed=2)
    for camera, before in base_segments.items():
        changed = np.abs(base[camera].astype(int) - images[camera]).max(axis=-1) > 8
        allowed = mask(segments[camera], *where) | mask(before, *where)
        beside = cv2.dilate(allowed.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0  # edges are mixed
        assert (changed & ~beside).sum() < 10, camera  # gaps in the arm that are narrower than a pixel
        if camera == "agentview" or allowed.sum() > 50:
            assert changed[allowed].mean() > 0.3
    assert twin.scene == replace(SCENES[name], dish_place=twin.scene.dish_place)


def test_a_spotlight_is_a_patch_of_light(twin: CosmosTwin):
    brightness = {}
    for name in ("base", "spotlight"):
        images, segments = seen(twin, name, seed=1)
        table = cv2.GaussianBlur(images["agentview"].mean(axis=-1), (5, 5), 0)[mask(segments["agentview"], "table")]
        brightness[name] = np.quantile(table, [0.02, 0.98])
    assert brightness["base"][1] / brightness["base"][0] < 1.2
    assert brightness["spotlight"][1] / brightness["spotlight"][0] > 1.8


@pytest.mark.parametrize("scene", [None, "base", "distractors"])
def test_depth_and_segments_are_true(scene: str | None, plain: CosmosTwin, twin: CosmosTwin):
    shown = plain if scene is None else twin
    shown.reset(seed=7, options=None if scene is None else {"scene": scene})
    for _ in range(3):
        shown.step(np.array([0.3, -0.2, -0.6, 0.1, 0.0, 0.2, -1.0], np.float32))
    data, model = shown._posed(), shown._cameras._model
    views = shown.annotate()
    assert shown.segment_names == NAMES
    for name, camera in CAMERAS.items():
        view = views[name]
        assert (view.depth.shape, view.depth.dtype, view.segments.dtype) == ((128, 128), np.float32, np.uint8)
        index = model.camera(camera).id
        rotation, origin = data.cam_xmat[index].reshape(3, 3), data.cam_xpos[index]
        slope = np.tan(np.radians(model.cam_fovy[index]) / 2)
        down, across = np.mgrid[:128, :128]
        rays = np.stack([(across + 0.5) / 64 - 1, 1 - (down + 0.5) / 64, np.full((128, 128), -1 / slope)], axis=-1)
        world = origin + (rays * slope) @ rotation.T * view.depth[..., None]
        table = world[mask(view.segments, "table")]
        assert len(table) > 4000
        assert np.quantile(np.abs(table[:, 2] - 0.8), 0.98) < 0.001  # the rest are the table's edges
        inside = (world[mask(view.segments, "cube")] - data.body("cube_main").xpos) @ data.body(
            "cube_main"
        ).xmat.reshape(3, 3)
        assert len(inside) > 100
        assert np.abs(inside).max() < 0.0225  # its half extents are 2.1 cm
        if scene is not None:
            assert shown.scene is not None
            dish = world[mask(view.segments, "dish")] - [*shown.scene.dish_place, 0.8]
            assert np.linalg.norm(dish[:, :2], axis=1).max() < 0.047
            assert -0.001 < dish[:, 2].min() <= dish[:, 2].max() < 0.02
    if scene == "distractors":
        props = [world_points(shown, "agentview", views, "prop")]
        places = np.array([prop.place for prop in SCENES["distractors"].props])
        nearest = np.linalg.norm(props[0][:, None, :2] - places, axis=-1).argmin(axis=1)
        assert set(nearest) == {0, 1, 2}
        assert np.linalg.norm(props[0][:, :2] - places[nearest], axis=1).max() < 0.065
        assert props[0][:, 2].min() + 0.001 >= 0.8


def world_points(twin: CosmosTwin, camera: str, views: dict, segment: str) -> np.ndarray:
    data, model = twin._posed(), twin._cameras._model
    index = model.camera(CAMERAS[camera]).id
    slope = np.tan(np.radians(model.cam_fovy[index]) / 2)
    down, across = np.nonzero(mask(views[camera].segments, segment))
    rays = np.stack([((across + 0.5) / 64 - 1) * slope, (1 - (down + 0.5) / 64) * slope, -np.ones(len(down))], axis=-1)
    points = rays * views[camera].depth[down, across, None]
    return data.cam_xpos[index] + points @ data.cam_xmat[index].reshape(3, 3).T


def test_annotating_leaves_images_as_they_are(twin: CosmosTwin):
    twin.reset(seed=0)
    before = twin.render()
    twin.annotate()
    np.testing.assert_array_equal(twin._observe()["pixels"]["wrist"], before[:, 128:])


def test_an_episode_of_a_scene_repeats_whatever_came_before(twin: CosmosTwin):
    scene = random_scene(np.random.default_rng(11))
    first, _ = seen(twin, scene, seed=4)
    other = CosmosTwin("Lift", scene=scene)
    for name in TEST_SCENES:
        twin.reset(seed=1, options={"scene": name})
    again, _ = seen(twin, scene, seed=4)
    fresh, _ = other.reset(seed=4)
    other.close()
    for camera in CAMERAS:
        np.testing.assert_array_equal(first[camera], again[camera])
        np.testing.assert_array_equal(first[camera], fresh["pixels"][camera])
    back, _ = twin.reset(seed=4)
    assert twin.scene == replace(BASE, dish_place=twin.scene.dish_place)
    assert (back["pixels"]["agentview"] != first["agentview"]).mean() > 0.2


def test_the_dish_is_placed_by_the_seed(twin: CosmosTwin):
    places = []
    for seed in (0, 1, 2, 3, 0):
        twin.reset(seed=seed)
        places.append(twin.scene.dish_place)
    assert places[0] == places[4]
    assert len(set(places)) == 4
    assert all(DISH_PLACES[0][0] <= x <= DISH_PLACES[0][1] for x, _ in places)
    fixed = replace(BASE, dish_place=(-0.05, 0.15))
    twin.reset(seed=2, options={"scene": fixed})
    assert twin.scene == fixed


def test_a_moment_comes_back_with_its_scene(plain: CosmosTwin, twin: CosmosTwin):
    twin.reset(seed=6, options={"scene": "combo"})
    twin.step(np.zeros(7, np.float32))
    state, image = twin.save_state(), twin.render()
    twin.reset(seed=7)
    twin.restore_state(state)
    np.testing.assert_array_equal(twin.render(), image)
    assert twin.scene == state.scene
    with pytest.raises(ValueError, match="with scenes"):
        plain.restore_state(state)
    plain.reset(seed=0)
    with pytest.raises(ValueError, match="with scenes"):
        twin.restore_state(plain.save_state())


def test_what_is_out_of_view_may_be_hidden_in_scenes_too(twin: CosmosTwin, monkeypatch: pytest.MonkeyPatch):
    for name in ("distractors", "open_cabinet"):
        images, _ = seen(twin, name, seed=9)
        with monkeypatch.context() as patch:
            patch.setattr("cosmos_sim.envs.twin.cameras.in_view", lambda model, *_: np.ones(model.ngeom, bool))
            whole = twin._observe()["pixels"]
        for camera in CAMERAS:
            np.testing.assert_array_equal(images[camera], whole[camera])


@pytest.mark.parametrize("shape", ["box", "can", "ball", "capsule", "egg"])
def test_props_lie_on_the_table(twin: CosmosTwin, shape: str):
    size = (0.02, 0.02, 0.035) if shape in ("can", "capsule") else (0.03, 0.02, 0.025)
    prop = Prop(shape, size, (0.9, 0.1, 0.8), (-0.2, 0.12), 0.6)
    twin.reset(seed=0, options={"scene": replace(BASE, props=(prop,), dish_place=(0.0, -0.15))})
    points = world_points(twin, "agentview", twin.annotate(), "prop")
    height = 2 * (size[0] if shape == "capsule" else size[2])
    assert points[:, 2].max() - 0.8 == pytest.approx(height, abs=0.004)
    turned = points[:, :2] - prop.place
    turn = np.array([[np.cos(0.6), -np.sin(0.6)], [np.sin(0.6), np.cos(0.6)]])
    reach = np.abs(turned @ turn).max(axis=0)
    limits = (size[2] + size[0], size[0]) if shape == "capsule" else size[:2]
    assert (reach <= np.array(limits) + 0.002).all()
    assert reach[1] > 0.7 * limits[1]


def test_grey_is_grey(twin: CosmosTwin):
    """MuJoCo takes one grey for no colour; a scene may still have it."""
    scene = replace(
        BASE, cube=(0.5, 0.5, 0.5), dish=(0.5, 0.5, 0.5), table=Surface("plain", (0.2, 0.3, 0.6), (0, 0, 0))
    )
    images, segments = seen(twin, scene)
    grey = images["wrist"][mask(segments["wrist"], "cube")].astype(int)
    assert np.abs(np.median(grey, axis=0) - np.median(grey)).max() < 6
    assert 60 < np.median(grey) < 170


def test_options_that_are_wrong(plain: CosmosTwin, twin: CosmosTwin):
    with pytest.raises(ValueError, match="shows no scenes"):
        plain.reset(seed=0, options={"scene": "base"})
    with pytest.raises(ValueError, match=r"options of CosmosTwin.reset are 'scene' and 'instruction', not \['look'\]"):
        twin.reset(seed=0, options={"look": "base"})
    with pytest.raises(ValueError, match="Did you mean 'spotlight'"):
        twin.reset(seed=0, options={"scene": "spotligth"})
    with pytest.raises(ValueError, match="Unknown scene 'nowhere'"):
        CosmosTwin("Lift", scene="nowhere")
    with pytest.raises(ValueError, match="scenes are of the task Lift, not of 'Stack'"):
        CosmosTwin("Stack", scene="base")


def test_it_is_a_gymnasium_environment():
    twin = CosmosTwin("Lift", scene="combo", render_mode="rgb_array", horizon=5)
    check_env(twin, skip_render_check=True)
    twin.close()


def test_closed_cameras_draw_no_more(plain: CosmosTwin):
    model = plain._simulation.model
    model.geom_group[plain._cameras._visual] = 1
    cameras = Cameras(model, size=32)
    cameras.close()
    cameras.close()
    with pytest.raises(RuntimeError, match="closed"):
        cameras.render(plain._simulation.data, "agentview")
