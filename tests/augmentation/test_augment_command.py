"""``cosmos-sim augment`` from end to end, with a Transfer world whose networks are real, tiny and random."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from moving_scene import STEPS, episode_of
from small_transfer import SIZE, VIEWS, write_exports

from cosmos_sim.augmentation.calibration import other_colours
from cosmos_sim.augmentation.limits import Limits, read_limits, write_limits
from cosmos_sim.cli import main
from cosmos_sim.data.annotations import Annotations, read_annotations, write_annotations
from cosmos_sim.data.lerobot import read_episodes, write_dataset
from cosmos_sim.evaluation.outcome import fingerprint
from cosmos_sim.types import Episode
from cosmos_sim.world_model.control import KINDS
from cosmos_sim.world_model.inverse_dynamics import InverseDynamics, InverseDynamicsConfig, InverseDynamicsNet
from cosmos_sim.world_model.load_transfer import pack_transfer


def episode(index: int) -> Episode:
    """The cameras of the moving scene under the names that the world has."""
    made = episode_of(index)
    frames = dict(zip(VIEWS, made.frames.values(), strict=True))
    return Episode(frames, made.state, made.action, made.task, made.success, made.reward)


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two episodes, the first with true annotations."""
    folder = tmp_path_factory.mktemp("source") / "demos"
    write_dataset((episode(index) for index in range(2)), folder)
    (first,) = read_episodes(folder, [0])
    names = ("background", "robot", "cube")
    ids = {camera: (video.max(axis=3) < 75).astype(np.uint8) for camera, video in first.frames.items()}
    depth = {camera: np.full(one.shape, 900, np.uint16) for camera, one in ids.items()}
    write_annotations(folder, 0, Annotations(depth, ids, names))
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    exports = write_exports(folder / "exports")
    pack_transfer(
        folder / "world",
        model=exports / "base",
        branches={kind: exports / kind for kind in KINDS},
        annotator=exports / "annotator",
        changes={"views": VIEWS, "size": SIZE, "chunk": 9},
    )
    return folder / "world"


def run(demos: Path, world: Path, out: Path, *options: str) -> None:
    files = ["--dataset", str(demos), "--model", str(world), "--out", str(out)]
    main(["augment", *files, "--template", "lift", "--variants", "1", "--steps", "2", "--device", "cpu", *options])


def test_a_dataset_comes_back_with_its_variants(
    demos: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_limits(Limits({f"{view}.mask_iou": -1.0 for view in VIEWS}), tmp_path / "any.json")
    out = tmp_path / "made"
    controls = ("--controls", "edge:1.0", "blur:robot:0.5", "depth:0.5", "seg:0.5")
    run(demos, world, out, "--checks", str(tmp_path / "any.json"), *controls)
    assert "2 variants of 2 episodes" in capsys.readouterr().out
    originals = list(read_episodes(demos))
    for k, made in enumerate(read_episodes(out)):
        assert [video.shape for video in made.frames.values()] == [v.shape for v in originals[0].frames.values()]
        np.testing.assert_array_equal(made.action, originals[k % 2].action)
        assert np.array_equal(made.frames["wrist"], originals[k % 2].frames["wrist"]) == (k < 2)
    told = [json.loads(line) for line in (out / "meta" / "augmentation.jsonl").read_text().splitlines()]
    assert told[2]["controls"] == ["edge@medium:1.0", "blur@very_low:robot:0.5", "depth:0.5", "seg:0.5"]
    assert "agentview.mask_iou" in told[2]["scores"]
    kept, original = read_annotations(out, 0), read_annotations(demos, 0)
    assert kept is not None
    assert original is not None
    np.testing.assert_array_equal(kept.segments["wrist"], original.segments["wrist"])
    run(demos, world, out, "--checks", str(tmp_path / "any.json"), *controls)
    assert "complete already" in capsys.readouterr().out
    settings = json.loads((out / "meta" / "augmentation.json").read_text())["settings"]
    assert settings["weights"] == fingerprint(world)
    with pytest.raises(SystemExit):
        run(demos, world, out, "--checks", str(tmp_path / "any.json"), *controls, "--template", "kitchen")
    assert "made with other options: template 'lift " in capsys.readouterr().err


def test_limits_come_from_the_dataset_itself_where_there_are_none(
    demos: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made"
    with pytest.raises(SystemExit):  # a world of random weights makes nothing that passes them
        run(demos, world, out, "--controls", "edge", "--attempts", "1")
    assert "none of 2 variants" in capsys.readouterr().err
    limits = read_limits(tmp_path / "made.augmenting" / "checks.json")
    assert limits.origin["episodes"] == [0, 1]
    assert limits.origin["videos"] == 6
    assert limits.worst["wrist.motion"] < 1


@pytest.fixture(scope="module")
def labeller(demos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    (first,) = read_episodes(demos, [0])
    net = InverseDynamicsNet(
        InverseDynamicsConfig(VIEWS, first.action.shape[1], chunk=4, resolution=16, width=4, dim=16)
    )
    folder = tmp_path_factory.mktemp("labeller")
    InverseDynamics(net, figures={}).write(folder)
    return folder


def test_actions_are_still_to_be_read_off_variants(
    demos: Path, world: Path, labeller: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Limits are the annotator's own, and of the actions that which the dataset's videos keep."""
    shutil.copytree(world / "annotator", tmp_path / "annotator")
    write_limits(Limits({"agentview.mask_iou": -1.0, "wrist.mask_iou": -1.0}), tmp_path / "annotator" / "checks.json")
    options = ("--annotator", str(tmp_path / "annotator"), "--labeller", str(labeller))
    run(demos, world, tmp_path / "made", "--controls", "edge", *options)
    assert "2 variants of 2 episodes" in capsys.readouterr().out
    record = json.loads((tmp_path / "made" / "meta" / "augmentation.json").read_text())
    assert set(record["checks"]["worst"]) == {"agentview.mask_iou", "wrist.mask_iou", "actions"}
    assert record["checks"]["origin"]["actions"]["episodes"] == [0, 1]
    assert record["settings"]["labeller_weights"] == fingerprint(labeller)
    told = [json.loads(line) for line in (tmp_path / "made" / "meta" / "augmentation.jsonl").read_text().splitlines()]
    assert 0 < told[2]["scores"]["actions"] <= record["checks"]["worst"]["actions"]


def test_limits_without_the_actions_do_for_no_labeller(
    demos: Path, world: Path, labeller: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_limits(Limits({"agentview.mask_iou": -1.0}), tmp_path / "any.json")
    with pytest.raises(SystemExit):
        run(demos, world, tmp_path / "made", "--checks", str(tmp_path / "any.json"), "--labeller", str(labeller))
    assert "has no limit of 'actions'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--language-model", "tiny"), "language_model and language_model_url go together"),
        (("--template", "lft"), "did you mean 'lift'"),
        (("--workers", "0"), "workers must be at least 1, got 0"),
        (("--cameras", "wrist"), "makes the cameras agentview, wrist side by side"),
        (("--controls", "edge", "edge"), "two controls of one kind"),
        (("--ray", "local"), "pip install"),
    ],
)
def test_mistakes_are_told(
    demos: Path,
    world: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    message: str,
) -> None:
    if "--ray" in options:
        monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    with pytest.raises(SystemExit):
        run(demos, world, tmp_path / "made", *options)
    assert message in capsys.readouterr().err


def test_a_template_is_needed_for_a_world_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["augment", "--dataset", "x", "--model", "./mine", "--out", "y"])
    assert "template is needed for './mine': kitchen, lift, tabletop" in capsys.readouterr().err


def test_other_colours_are_the_same_in_all_cameras_and_move_nothing() -> None:
    frames = episode(0).frames
    seen = other_colours(frames, np.random.default_rng(3))
    again = other_colours(frames, np.random.default_rng(3))
    pairs = {}
    for camera, video in frames.items():
        np.testing.assert_array_equal(seen[camera], again[camera])
        for before, after in zip(video.reshape(-1, 3), seen[camera].reshape(-1, 3), strict=True):
            assert pairs.setdefault(tuple(before), tuple(after)) == tuple(after)
    assert len(next(iter(seen.values()))) == STEPS
    assert sum(before != after for before, after in pairs.items()) > 3
