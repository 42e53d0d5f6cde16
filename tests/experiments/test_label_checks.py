"""The study of the label checks, by an annotator that has learned nothing: that it renders and counts as it says."""

import json
from pathlib import Path

import numpy as np
import pytest
from small_transfer import SIZE, VIEWS, write_exports

from cosmos_sim.augmentation.limits import read_limits
from cosmos_sim.collection.collect import collect
from cosmos_sim.collection.plan import CollectionConfig
from cosmos_sim.data.lerobot import read_episodes
from cosmos_sim.envs.twin.env import CosmosTwin
from cosmos_sim.envs.twin.scene_words import KEPT_OUTLINES
from cosmos_sim.envs.twin.scenes import SCENES, find_scene
from cosmos_sim.world_model.control import KINDS
from cosmos_sim.world_model.load_transfer import pack_transfer

EPISODES, LENGTH = 4, 6


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = CollectionConfig("Lift", EPISODES, 77, LENGTH, {"expert": 1.0}, scenes="base", annotate=True)
    return collect(config, tmp_path_factory.mktemp("real") / "data", progress=False).path


def test_a_scene_is_painted_anew_with_everything_in_its_place(load, data: Path):
    module = load("label_checks")
    base = find_scene("base")
    scenes = [module.repainted(base, np.random.default_rng(seed)) for seed in range(5)]
    for scene in scenes:
        assert (scene.camera, scene.dish_place, scene.props) == (base.camera, base.dish_place, base.props)
        assert all(phrase in KEPT_OUTLINES[slot] for slot, phrase in scene.words.slots().items())
    assert len({scene.cube for scene in scenes} - {one.cube for one in SCENES.values()}) == 5
    plan = json.loads((data / "meta" / "collection.json").read_text())["episodes"][1]
    (episode,) = read_episodes(data, [1])
    twin = CosmosTwin(horizon=100, terminate_on_success=False, scene="base")
    again, painted = (
        module.render_again(twin, seed=plan["seed"], scene=scene, actions=episode.action, states=episode.state)
        for scene in (base, scenes[0])
    )
    for camera, video in episode.frames.items():
        assert np.abs(again[camera].astype(int) - video).mean() < 2  # what the encoder of the videos took
        assert np.abs(painted[camera].astype(int) - video).mean() > 5
    with pytest.raises(ValueError, match=f"the episode of seed {plan['seed'] + 1} does not repeat"):
        module.render_again(twin, seed=plan["seed"] + 1, scene=base, actions=episode.action, states=episode.state)
    twin.close()


def test_limits_are_of_half_of_the_episodes_and_judged_on_the_others(
    load, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    module = load("label_checks")
    parts = write_exports(tmp_path / "parts")
    changes = {"views": VIEWS, "size": SIZE, "chunk": 5}
    pack_transfer(
        tmp_path / "world",
        model=parts / "base",
        branches={kind: parts / kind for kind in KINDS},
        annotator=parts / "annotator",
        changes=changes,
    )
    words = ["--data", str(data), "--world", str(tmp_path / "world"), "--write", "--json", str(tmp_path / "found.json")]
    monkeypatch.setattr("sys.argv", ["label_checks.py", *words])
    module.main()
    found = json.loads((tmp_path / "found.json").read_text())
    limits = read_limits(tmp_path / "world" / "annotator" / "checks.json")
    assert (limits.origin["episodes"], limits.origin["videos"]) == (2, 4)
    assert found["limits"]["worst"] == dict(limits.worst)
    assert found["real"]["videos"] == 4
    assert {row["videos"] for row in found["broken"].values()} == {2}
    assert found["broken"]["frozen at the first frame"]["rejected"] == 2  # its motion is 0, whoever reads the robot
    assert any(name.endswith(".motion") for name in found["broken"]["frozen at the first frame"]["by_check"])
    assert "frozen at the first frame" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["label_checks.py", *words, "--looks", "1"])
    with pytest.raises(SystemExit):
        module.main()
    assert "--looks must be at least 2" in capsys.readouterr().err
