import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from cosmos_sim.data.lerobot import write_dataset
from cosmos_sim.data.pretrained import shipped
from cosmos_sim.data.starts import Starts
from cosmos_sim.evaluation.pose_reader import PoseNet, PoseReader, PoseReaderConfig
from cosmos_sim.types import Episode


@pytest.fixture(scope="module")
def endurance() -> ModuleType:
    path = Path(__file__).parents[2] / "experiments" / "endurance.py"
    spec = importlib.util.spec_from_file_location("endurance", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_hundred_steps_of_the_shipped_world(
    endurance: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    starts = Starts.load(shipped("world")["lift"] / "starts.safetensors")
    halves = [starts.select(range(k, k + 4)) for k in (0, 4)]
    action = np.zeros((4, 7), np.float32)
    write_dataset([Episode(s.frames, s.state, action, s.tasks[0]) for s in halves], tmp_path / "real")
    net = PoseNet(PoseReaderConfig(tuple(starts.frames), resolution=32, width=4, features=8))
    (tmp_path / "reader").mkdir()
    PoseReader(net, figures={"median_mm": 1.0, "p90_mm": 2.0, "frames": 3.0}).write(tmp_path / "reader")
    words = ["--steps", "100", "--sample", "5", "--picture", "strip.webp", "--out", "found.json"]
    words += ["--data", "real", "--reader", "reader"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["endurance.py", *words])
    endurance.main()
    found = json.loads(Path("found.json").read_text())
    assert found["format"] == "cosmos-sim endurance 1"
    assert set(found["peak_memory_mb"]) == {"10", "100"}
    assert found["nearest_real_psnr"]["1-100"] > 8
    # A start's nearest is another start, whose cube lies elsewhere.
    assert found["nearest_real_psnr"]["real frames of held-out episodes"] > found["nearest_real_psnr"]["1-100"]
    assert found["read_from_predicted_mm"]["1-100"] > 0
    assert len(found["state_low"]) == 7
    picture = Image.open("strip.webp")
    assert picture.size == (3 * 256 + 2 * endurance.GAP, 2 * 256 + endurance.CAPTION + endurance.GAP)
    assert "found.json" in capsys.readouterr().out


def test_the_nearest_is_the_nearest(endurance: ModuleType):
    rng = np.random.default_rng(0)
    frames, real = (rng.uniform(0, 255, (n, 30)).astype(np.float32) for n in (5, 2100))
    squared = ((frames[:, None] - real) ** 2).mean(axis=-1).min(axis=1)
    assert endurance.nearest_psnr(frames, real) == pytest.approx(10 * np.log10(255**2 / squared), rel=1e-4)
    assert endurance.nearest_psnr(real[:2], real).min() > 70


def test_spans_cover_the_run(endurance: ModuleType):
    spans = endurance.decades(2500)
    assert list(spans) == ["1-100", "101-1000", "1001-2500"]
    at = np.arange(20, 2501, 20)
    assert sum(endurance.within(at, span).sum() for span in spans.values()) == len(at)
    assert list(endurance.decades(100)) == ["1-100"]


def test_a_world_that_breaks_is_not_passed_over(endurance: ModuleType, monkeypatch: pytest.MonkeyPatch):
    from cosmos_sim.envs.world import CosmosWorld

    step = CosmosWorld.step

    def broken(self, action):
        observation, *rest = step(self, action)
        return {**observation, "agent_pos": observation["agent_pos"] * np.nan}, *rest

    monkeypatch.setattr(CosmosWorld, "step", broken)
    with pytest.raises(FloatingPointError, match="step 1: state"):
        endurance.endure("lift", 100, 5, seed=0, reach=0.1)
