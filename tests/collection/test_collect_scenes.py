"""Collections of scenes: what is recorded beside the videos is what the twin showed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cosmos_sim.collection.collect import collect
from cosmos_sim.collection.plan import CollectionConfig, plan_episode, plan_scene
from cosmos_sim.collection.record import record
from cosmos_sim.data.annotations import read_annotations
from cosmos_sim.data.captions import read_captions
from cosmos_sim.data.lerobot import read_episodes
from cosmos_sim.envs.twin.env import CosmosTwin
from cosmos_sim.envs.twin.scene import Scene
from cosmos_sim.policies.scripted import scripted_policy

CONFIG = CollectionConfig(
    task="Lift", episodes=4, seed=2, length=5, shares={"expert": 0.5, "random": 0.5}, scenes="random", annotate=True
)


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scenes") / "lift"
    collect(CONFIG, out, workers=1, progress=False)
    return out


def test_scenes_captions_and_annotations_are_those_of_the_twin(collected: Path) -> None:
    entries = json.loads((collected / "meta" / "collection.json").read_text())["episodes"]
    captions = read_captions(collected)
    assert sorted(captions) == [0, 1, 2, 3]
    scenes = [Scene.from_dict(entry["scene"]) for entry in entries]
    assert scenes == [plan_scene(CONFIG, index) for index in range(4)]
    twin = CosmosTwin("Lift", horizon=CONFIG.length, terminate_on_success=False, scene="base")
    for index, episode in enumerate(read_episodes(collected)):
        plan, scene = plan_episode(CONFIG, index), scenes[index]
        actor = scripted_policy("Lift", plan.skill)
        original = record(twin, actor, plan, length=CONFIG.length, scene=scene, annotate=True)
        assert captions[index] == scene.caption
        assert episode.task == "lift the cube"
        np.testing.assert_array_equal(episode.action, original.action)
        kept = read_annotations(collected, index)
        assert kept is not None
        assert kept.names == ("background", "robot", "table", "cube", "dish", "prop", "cabinet")
        for camera in ("agentview", "wrist"):
            error = episode.frames[camera].astype(float) - original.frames[camera]
            assert 10 * np.log10(255**2 / np.mean(error**2)) > 38
            np.testing.assert_array_equal(kept.depth[camera], original.info["annotations"].depth[camera])
            np.testing.assert_array_equal(kept.segments[camera], original.info["annotations"].segments[camera])
        # the row's annotations are of the row's image: the cube is where its colour is
        frame, cube = original.frames["agentview"][-1].astype(float), kept.mask("agentview", "cube")[-1]
        inside, table = np.median(frame[cube], axis=0), np.median(frame[kept.mask("agentview", "table")[-1]], axis=0)
        assert np.linalg.norm(inside - table) > 40
        assert cube.sum() > 100
    twin.close()


def test_any_number_of_workers_gives_the_same_and_leftovers_of_a_kill_go(collected: Path, tmp_path: Path) -> None:
    out = tmp_path / "lift"
    leftover = tmp_path / "lift.collecting" / "annotated" / "meta" / "annotations" / ".episode_000001.npz.7.partial"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    collect(CONFIG, out, workers=2, progress=False)
    files = [
        {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        for folder in (collected, out)
    ]
    assert files[0] == files[1]
    with pytest.raises(ValueError, match="scenes 'random' there, 'base' here"):
        collect(replace(CONFIG, scenes="base"), out, progress=False)


def test_one_scene_for_all_and_no_annotations(tmp_path: Path) -> None:
    config = replace(CONFIG, episodes=3, length=2, scenes="combo", annotate=False)
    collect(config, tmp_path / "lift", workers=1, progress=False)
    entries = json.loads((tmp_path / "lift" / "meta" / "collection.json").read_text())["episodes"]
    places = {tuple(entry["scene"].pop("dish_place")) for entry in entries}
    assert len(places) == 3
    assert entries[0]["scene"] == entries[1]["scene"] == entries[2]["scene"]
    captions = read_captions(tmp_path / "lift")
    assert {caption.caption for caption in captions.values()} == {plan_scene(config, 0).caption.caption}  # type: ignore[union-attr]
    assert read_annotations(tmp_path / "lift", 0) is None
    card = (tmp_path / "lift" / "README.md").read_text()
    assert "--scenes combo" in card
    assert "--annotate" not in card
