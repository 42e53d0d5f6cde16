"""How fast a run goes, and where that can be read."""

import time

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cosmos_sim.training.layout import Layout, ParallelConfig
from cosmos_sim.training.log import Log
from cosmos_sim.training.speed import Speed, peak_flops

CPU = torch.device("cpu")


def test_speed_is_that_of_all_processes_together():
    """Two context groups of two: what a group shares counts once, though both of its processes report it."""
    speed = Speed(Layout(ParallelConfig(context=2), CPU, rank=1, size=4), step=3)
    begin = time.perf_counter()
    for _ in range(5):
        speed.add(tokens=300, flops=1e6, processes=2)
    time.sleep(0.2)
    figures = speed.read(8, samples=6)
    seconds = time.perf_counter() - begin
    assert figures.keys() == {"steps/s", "samples/s", "tokens/s", "memory_gib"}  # no peak is known of a CPU
    assert figures["steps/s"] == pytest.approx(5 / seconds, rel=0.1)
    assert figures["samples/s"] == pytest.approx(6 * figures["steps/s"])
    assert figures["tokens/s"] == pytest.approx(5 * 300 * 2 / seconds, rel=0.1)
    assert 0.05 < figures["memory_gib"] < 64
    assert speed.read(9, samples=None).keys() == {"steps/s", "memory_gib"}


def test_mfu_is_a_share_of_one_devices_peak(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**30)
    speed = Speed(Layout(ParallelConfig(context=2), torch.device("cuda:1"), rank=1, size=2), step=0)
    begin = time.perf_counter()
    speed.add(tokens=10, flops=2e14, processes=2)
    time.sleep(0.2)
    figures = speed.read(1, samples=None)
    assert figures["mfu"] == pytest.approx(1e14 / (time.perf_counter() - begin) / peak_flops("NVIDIA H200"), rel=0.1)
    assert figures["memory_gib"] == 3


def test_curves_and_videos_are_in_tensorboard_and_offline_in_wandb(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    frames = np.zeros((2, 16, 18, 3), np.uint8)
    for begin in (0, 4):
        log = Log(tmp_path, begin, wandb="worlds", config={"lr": 0.5})
        log.write(begin + 4, "train", {"loss": 2.5 + begin})
        log.videos(begin + 4, {"a": frames}, 10.0)
        log.close()
    board = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 9}).Reload()
    assert [(e.step, e.value) for e in board.Scalars("train/loss")] == [(4, 2.5), (8, 6.5)]
    assert len(board.Images("samples/a")) == 2
    runs = sorted((tmp_path / "wandb").glob("offline-run-*"))
    name = (tmp_path / "wandb_id").read_text()
    assert len(runs) == 2
    assert all(name in run.name and list(run.rglob("*.mp4")) for run in runs)  # one second's second run ends in "-1"
