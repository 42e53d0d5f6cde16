"""Collections are interrupted in every way there is, and must equal one that was not."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import cosmos_sim
from cosmos_sim.collection.collect import collect
from cosmos_sim.collection.plan import CollectionConfig, plan_episode
from cosmos_sim.collection.record import record
from cosmos_sim.data.lerobot import read_episodes
from cosmos_sim.envs.twin.env import CosmosTwin
from cosmos_sim.policies.load import load_policy
from cosmos_sim.policies.scripted import scripted_policy

CONFIG = CollectionConfig(
    task="Lift", episodes=12, seed=5, length=9, shares={"expert": 0.5, "clumsy": 0.2, "random": 0.3}
)
OPTIONS = ["--task=Lift", "--episodes=12", "--seed=5", "--length=9", "--skills=expert=.5,clumsy=.2,random=.3"]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken") / "lift"
    collected = collect(CONFIG, out, workers=1, progress=False)
    assert (collected.episodes, collected.new) == (12, 12)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def command(out: Path, *options: str) -> list[str]:
    program = "from cosmos_sim.cli import main; main()"
    return [sys.executable, "-c", program, "collect", *OPTIONS, f"--out={out}", *options]


def start(out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(out, "--workers=2"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )


def heed_interrupts() -> None:
    """Let Ctrl-C be heard, also where the tests run in the background and have it ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def until(condition: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    """Wait for ``condition``, without sleeping past a moment that is soon over."""
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.002)


def children(process: subprocess.Popen[str]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def full_disk() -> None:
    """Let no file of this process and its children grow beyond 3 kB, as a full disk would not."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))


def test_interrupted_killed_and_out_of_space_it_ends_as_if_unbroken(unbroken: Path, tmp_path: Path) -> None:
    out, staging = tmp_path / "lift", tmp_path / "lift.collecting"

    def staged() -> dict[str, int]:
        return {file.name: file.stat().st_mtime_ns for file in staging.glob("episodes/[0-9]*.npz")}

    first = start(out)
    until(lambda: len(staged()) >= 1, first)
    first.send_signal(signal.SIGINT)
    _, errors = first.communicate(timeout=300)
    assert first.returncode == 130
    assert "Traceback" not in errors
    assert not list(staging.glob("episodes/.*"))
    kept = staged()

    second = start(out)
    until(lambda: len(staged()) > len(kept) and len(children(second)) >= 2, second)
    workers = children(second)
    second.kill()
    second.communicate()
    until(lambda: all(map(gone, workers)))
    assert kept.items() <= staged().items()
    kept = staged()

    third = start(out)
    until(lambda: list(staging.glob(".dataset.*.writing")), third)
    third.kill()
    third.communicate()
    assert kept.items() <= staged().items()
    assert len(staged()) == 12
    assert not out.exists()

    fourth = subprocess.run(command(out, "--workers=1"), capture_output=True, text=True, preexec_fn=full_disk)
    assert fourth.returncode == 2
    assert "File too large" in fourth.stderr
    assert "Traceback" not in fourth.stderr
    assert not out.exists()
    assert not list(staging.glob("*dataset*"))

    last = subprocess.run(command(out, "--workers=2"), capture_output=True, text=True, check=True)
    assert "12 episodes" in last.stdout
    assert not staging.exists()
    assert contents(out) == contents(unbroken)


def test_a_disk_that_is_full_while_recording(tmp_path: Path) -> None:
    result = subprocess.run(
        command(tmp_path / "lift", "--workers=1"), capture_output=True, text=True, preexec_fn=full_disk
    )
    assert result.returncode == 2
    assert "File too large" in result.stderr
    assert not list(tmp_path.glob("lift.collecting/episodes/*"))
    assert not (tmp_path / "lift").exists()


def test_a_finished_collection_is_left_alone(unbroken: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in unbroken.rglob("*")}
    result = subprocess.run(command(unbroken), capture_output=True, text=True, check=True)
    assert "complete already: nothing to do" in result.stdout
    assert {file: file.stat().st_mtime_ns for file in unbroken.rglob("*")} == before


def test_other_options_are_refused(unbroken: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"collected with other options: seed 5 there, 6 here; length 9 there, 8 here"):
        collect(replace(CONFIG, seed=6, length=8), unbroken, progress=False)
    staging = tmp_path / "lift.collecting"
    (staging / "episodes").mkdir(parents=True)
    shutil.copy(unbroken / "meta" / "collection.json", staging / "config.json")
    (staging / "config.json").write_text(json.dumps(json.loads((staging / "config.json").read_text())["config"]))
    with pytest.raises(ValueError, match=r"begun with other options: episodes 12 there, 7 here"):
        collect(replace(CONFIG, episodes=7), tmp_path / "lift", progress=False)


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(ValueError, match="exists already and is not a collection"):
        collect(CONFIG, tmp_path, progress=False)
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        collect(CONFIG, tmp_path / "new", workers=0)
    assert os.listdir(tmp_path) == ["mine"]


def test_two_processes_do_not_collect_into_one_folder(unbroken: Path, tmp_path: Path) -> None:
    first = start(tmp_path / "lift")
    try:
        until(lambda: (tmp_path / "lift.collecting" / "config.json").is_file(), first)
        with pytest.raises(ValueError, match="another process is collecting into"):
            collect(CONFIG, tmp_path / "lift", progress=False)
    finally:
        first.kill()
        first.communicate()


def test_the_dataset_holds_what_the_twin_showed(unbroken: Path) -> None:
    sidecar = json.loads((unbroken / "meta" / "collection.json").read_text())
    truth = np.load(unbroken / "meta" / "simulator_state.npz")
    twin = CosmosTwin("Lift", horizon=CONFIG.length, terminate_on_success=False)
    try:
        for index, episode in enumerate(read_episodes(unbroken)):
            plan = plan_episode(CONFIG, index)
            entry = sidecar["episodes"][index]
            assert (entry["index"], entry["skill"], entry["seed"]) == (index, plan.skill, plan.seed)
            assert episode.success is not None
            assert entry["success"] == episode.success.any()
            original = record(twin, scripted_policy("Lift", plan.skill), plan, length=CONFIG.length)
            for name in ("state", "action", "success", "reward"):
                np.testing.assert_array_equal(getattr(episode, name), getattr(original, name))
            for camera in ("agentview", "wrist"):
                error = episode.frames[camera].astype(float) - original.frames[camera]
                assert 10 * np.log10(255**2 / np.mean(error**2)) > 44
            rows = slice(CONFIG.length * index, CONFIG.length * (index + 1))
            np.testing.assert_array_equal(truth["cube_pos"][rows], original.info["truth"]["cube_pos"])
            np.testing.assert_allclose(truth["eef_pos"][rows], episode.state[:, :3], atol=1e-6)
    finally:
        twin.close()


def test_lerobot_reads_it(unbroken: Path) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    dataset = LeRobotDataset("lift", root=unbroken, video_backend="pyav")
    assert (dataset.num_episodes, len(dataset), dataset.fps) == (12, 108, 10)
    row = dataset[20]
    assert row["observation.images.agentview"].shape == row["observation.images.wrist"].shape == (3, 128, 128)
    assert row["observation.state"].shape == row["action"].shape == (7,)
    assert row["next.success"].dtype.is_floating_point is False
    assert row["task"] == "lift the cube"
    assert row["episode_index"].item() == 2


def test_recording_needs_a_twin_that_goes_on() -> None:
    twin = CosmosTwin("Lift", horizon=4)
    try:
        with pytest.raises(ValueError, match="ended after 4 of the 6 steps"):
            record(twin, scripted_policy("Lift", "random"), plan_episode(CONFIG, 0), length=6)
    finally:
        twin.close()


def test_a_trained_policy_records_beside_a_skill(tmp_path: Path) -> None:
    shipped = Path(cosmos_sim.__file__).parent / "weights" / "policies" / "lift-poor"
    config = replace(CONFIG, episodes=4, shares={str(shipped): 0.5, "random": 0.5})
    out = tmp_path / "lift"
    collect(config, out, workers=1, progress=False)
    episodes = json.loads((out / "meta" / "collection.json").read_text())["episodes"]
    assert sorted(episode["skill"] for episode in episodes) == sorted([str(shipped), "random"] * 2)
    by_policy = [episode["skill"] == str(shipped) for episode in episodes]
    recorded = [episode.action for episode in read_episodes(out)]
    index = by_policy.index(True)
    twin = CosmosTwin("Lift", horizon=config.length, terminate_on_success=False)
    again = record(twin, load_policy(shipped), plan_episode(config, index), length=config.length)
    np.testing.assert_array_equal(again.action, recorded[index])
    assert (np.abs(again.action) <= 1).all()
    assert str(shipped) in (out / "README.md").read_text()
