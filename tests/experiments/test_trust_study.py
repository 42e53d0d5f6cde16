import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from cosmos_sim.data.lerobot import write_dataset
from cosmos_sim.envs.trust import Trust
from cosmos_sim.envs.trust_calibration import TrustCalibration
from cosmos_sim.types import Episode
from cosmos_sim.world_model.inverse_dynamics import InverseDynamics, InverseDynamicsConfig, InverseDynamicsNet
from cosmos_sim.world_model.world import World


@pytest.fixture
def trust(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("trust")


def test_apart_is_the_share_of_what_moved_that_differs(trust: ModuleType):
    def video(*columns: int) -> dict[str, np.ndarray]:
        frames = np.full((len(columns), 10, 20, 3), 100, np.uint8)
        for frame, column in zip(frames, columns, strict=True):
            frame[2:6, column : column + 4] = 250
        return {"a": frames}

    true = video(0, 4, 8)
    np.testing.assert_allclose(trust.apart(true, true), 0)
    # Where the block was is shown alike. Of the block's own place, half differs, on either side; then all.
    np.testing.assert_allclose(trust.apart(video(0, 6, 12), true), [0, 4 / 10, 8 / 12])
    frozen = trust.apart(video(0, 0, 0), true)
    np.testing.assert_allclose(frozen, [0, 1, 1])


@pytest.fixture
def blob(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "envs")
    import blob_trust

    return blob_trust


def test_a_reader_that_reads_is_told_to(trust: ModuleType, blob: ModuleType):
    frames, actions = blob.played(24, 9, seed=5)
    videos = []
    for i in range(24):
        near = np.zeros(10) if i < 20 else np.ones(10)
        shown = {camera: images[i if i < 20 else i - 10] for camera, images in frames.items()}
        videos.append(trust.Video("real" if i < 20 else "imagined", i, shown, actions[i], near))
    calibrated, told = trust.study(blob.blob_trust(), videos, translation=2, stride=3)
    assert told["areas"]["all"]["auc"] > 0.9
    assert told["areas"]["all"]["low"] <= told["areas"]["all"]["auc"] <= told["areas"]["all"]["high"]
    # Ten real videos of three chunks each follow; of two others, three chunks each do not, with their own actions.
    assert told["areas"]["own actions, imagined: near against left"]["auc"] is None
    assert told["areas"][trust.LEFT]["follow"] == 30
    assert told["areas"][trust.LEFT]["cases"] == 36
    assert told["episodes"]["imagined"]["left"] == told["episodes"]["imagined"]["episodes"] == 2
    assert sum(part["count"] for part in told["reliability"]["bins"]) == 60
    assert told["reliability"]["brier"] < told["reliability"]["brier_of_rate"] == 0.25
    assert calibrated.calibration.slope < 0
    assert calibrated.calibration.figures["auc"] == told["areas"]["all"]["auc"]
    text = trust.table(told)
    assert "mirrored directions" in text
    assert "left the true frames" in text


def test_intervals_resample_episodes(trust: ModuleType):
    """Forty chunks of one episode are no more evidence than one of them."""
    rng = np.random.default_rng(0)
    error = rng.uniform(size=80)
    kind = np.where(np.arange(80) % 2 == 0, trust.OWN, trust.LEFT)
    source = np.full(80, "real")
    one = trust.area(trust.Cases(error, source, kind, np.zeros(80, int)))
    many = trust.area(trust.Cases(error, source, kind, np.arange(80) // 4))
    assert one["low"] == one["high"] == one["auc"]
    assert many["low"] < many["auc"] < many["high"]
    part = trust.in_equal_parts(trust.Cases(error[:60], source[:60], np.sort(kind)[:60], np.arange(60)))
    assert part.follows.sum() == 20
    assert len(part.error) == 40


def test_the_study_of_the_shipped_world(
    trust: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """An untrained reader draws the same actions from all frames: episodes of these actions are right."""
    world = World.from_pretrained("lift", device="cpu")
    world.config = replace(world.config, spec=replace(world.spec, horizon=6))
    world.save_pretrained(tmp_path / "world")
    torch.manual_seed(0)
    config = InverseDynamicsConfig(tuple(world.spec.cameras), 7, 3, resolution=16, width=4, dim=16, blocks=1, heads=2)
    reader = InverseDynamics(InverseDynamicsNet(config), figures={"error": 0.1})
    (tmp_path / "idm").mkdir()
    reader.write(tmp_path / "idm")
    action = np.tile(reader.read_seen(np.zeros((1, 3, 16), np.float32), samples=2).action[0], (3, 1))
    starts = world.starts.select(range(4))
    frames = {camera: np.repeat(images[:, None], 9, axis=1) for camera, images in starts.frames.items()}
    episodes = [
        Episode({c: v[i] for c, v in frames.items()}, np.repeat(starts.state[i : i + 1], 9, 0), action, starts.tasks[i])
        for i in range(4)
    ]
    write_dataset(episodes, tmp_path / "real")
    monkeypatch.chdir(tmp_path)
    words = ["--world", "world", "--inverse-dynamics", "idm", "--data", "real", "--episodes", "4", "--stride", "3"]
    words += ["--starts", "1", "--policies", "lift-poor", "--samples", "2", "--write", "idm", "--out", "found.json"]
    monkeypatch.setattr(sys, "argv", ["trust.py", *words])
    trust.main()
    found = json.loads(Path("found.json").read_text())
    assert found["format"] == "cosmos-sim trust study 1"
    assert found["areas"]["mirrored directions"]["auc"] > 0.5
    assert found["episodes"]["acted in"]["episodes"] == 1
    assert found["episodes"]["real"]["left"] == 0
    again = Trust.from_pretrained(tmp_path / "idm").calibration
    assert (again.intercept, again.slope) == (found["calibration"]["intercept"], found["calibration"]["slope"])
    assert again.samples == 2
    assert again.provenance == {"world": "world", "data": "real", "episodes": 4}
    assert isinstance(again, TrustCalibration)
    assert "trust.json" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["trust.py", *words, "--episodes", "5"])
    with pytest.raises(SystemExit):
        trust.main()
    assert "--episodes must lie in 4 .. 4, got 5" in capsys.readouterr().err
