"""The experiments on Predict2.5's recipe at a size that learns nothing: that they run, go on, and add up."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cosmos_sim.data.lerobot import write_dataset
from cosmos_sim.training.video import write_mp4
from cosmos_sim.types import Episode

TINY = ["--size", "32", "48", "--frames", "5", "--width", "24", "--blocks", "1", "--heads", "2", "--batch-size", "2"]


def moving(frames: int, seed: int) -> np.ndarray:
    """A bright square that moves over a dark gradient."""
    video = np.zeros((frames, 32, 48, 3), np.uint8) + np.arange(48, dtype=np.uint8)[:, None]
    for k in range(frames):
        video[k, 4 + seed : 12 + seed, 2 * k : 2 * k + 8] = (200, 40 * seed, 90)
    return video


def test_schedule(load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    episodes = [
        Episode(
            frames={"agentview": moving(12, k % 4)},
            state=np.zeros((12, 3), np.float32),
            action=np.random.default_rng(k).normal(size=(12, 7)).astype(np.float32),
            task="lift the cube",
            fps=10.0,
        )
        for k in range(12)
    ]
    write_dataset(episodes, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    words = ["--data", "data", "--work", "work", "--steps", "2", "--clips", "3", "--device", "cpu", "--threads", "1"]
    words += ["--sample-steps", "2"]
    monkeypatch.setattr(
        sys, "argv", ["schedule.py", *words, *TINY, "--only", "shift-5-high-noise", "shift-1", "--out", "s.json"]
    )
    schedule = load("schedule")
    schedule.main()
    found = json.loads((tmp_path / "s.json").read_text())
    assert list(found["variants"]) == ["shift-5-high-noise", "shift-1"]
    base, other = found["variants"].values()
    assert list(base) == [
        "loss",
        "from a frame, sampled with shift 1",
        "from noise, sampled with shift 1",
        "from a frame, sampled with shift 5",
        "from noise, sampled with shift 5",
    ]
    psnr = other["from a frame, sampled with shift 5"]["psnr"]
    clips = [found["clips"][name]["from a frame, sampled with shift 5"]["psnr"] for name in found["variants"]]
    assert psnr["clips"] == len(clips[0])
    assert psnr["mean"] == pytest.approx(np.mean(clips[1]))
    assert psnr["minus base"]["mean"] == pytest.approx(np.mean(clips[1]) - np.mean(clips[0]))
    assert psnr["minus base"]["low"] <= psnr["minus base"]["mean"] <= psnr["minus base"]["high"]
    assert base["loss"]["loss/0.98"]["minus base"]["mean"] == 0
    assert "minus base" in capsys.readouterr().out
    written = (tmp_path / "work" / "shift-1" / "metrics.jsonl").stat().st_mtime_ns
    schedule.main()
    assert (tmp_path / "work" / "shift-1" / "metrics.jsonl").stat().st_mtime_ns == written, "it was finished"
    assert json.loads((tmp_path / "s.json").read_text()) == found


def test_overfit(load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "videos").mkdir()
    for k in range(2):
        write_mp4(tmp_path / "videos" / f"{k}.mp4", moving(5, k), 10.0)
    monkeypatch.chdir(tmp_path)
    words = ["--data", "videos", "--work", "work", "--steps", "20", "--device", "cpu", "--threads", "1"]
    words += ["--picture", "strips.webp", "--out", "o.json"]
    monkeypatch.setattr(sys, "argv", ["overfit.py", *words, *TINY])
    overfit = load("overfit")
    with pytest.raises(SystemExit) as missed:
        overfit.main()
    assert missed.value.code == 1
    found = json.loads((tmp_path / "o.json").read_text())
    assert not found["reached"]
    assert "bar missed" in capsys.readouterr().out
    assert found["loss"]["fraction"] == found["losses"][-1] / found["losses"][0]
    assert len(found["losses"]) == 2
    rows, columns = np.asarray(Image.open(tmp_path / "strips.webp")).shape[:2]
    assert columns == 5 * 48
    assert rows == len(found["clips"]) * (2 * 32 + 4) - 4
    for row in found["clips"]:
        assert 0 < row["psnr"] < row["psnr_of_the_first_frame"], "20 steps teach nothing"
