"""Whole nights of dreams of a toy: what comes of them, and of their faults."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pushing import LENGTH, SIZES, USUAL, WAYS, Painter, PushingOpener, Tracker, real

from cosmos_sim.data.dreams import read_dreams
from cosmos_sim.data.lerobot import dataset_info, read_episodes, write_dataset
from cosmos_sim.data.runners import Here
from cosmos_sim.synthesis.dream import Dreamt, dream
from cosmos_sim.synthesis.dreaming import Dreaming
from cosmos_sim.synthesis.opening import Work, action_range, real_scores
from cosmos_sim.synthesis.plan import DreamConfig, plan_jobs
from cosmos_sim.synthesis.scores import Limits, set_limits
from cosmos_sim.synthesis.starts import Starts
from cosmos_sim.types import Episode

EPISODES = 7


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(
        (real(index) for index in range(EPISODES)), tmp_path_factory.mktemp("seed") / "pushes", robot_type="arm"
    )


@pytest.fixture(scope="module")
def config(source: Path) -> DreamConfig:
    return DreamConfig(str(source), "painter", "tracker", tuple(WAYS), per_instruction=4, frames=LENGTH, world="block")


@pytest.fixture(scope="module")
def limits(config: DreamConfig) -> Limits:
    return set_limits(real_scores(PushingOpener(config).dreaming()), given={"failure": 2.0, "duplicate": 2.0})


def run(config: DreamConfig, out: Path, limits: Limits, *, fault: str = "", **options: Any) -> Dreamt:
    opener = PushingOpener(config, fault)
    return dream(config, out, opener=opener, runner=Here("cpu"), limits=limits, usual=USUAL, progress=False, **options)


@pytest.fixture(scope="module")
def done(config: DreamConfig, limits: Limits, tmp_path_factory: pytest.TempPathFactory) -> Dreamt:
    return run(config, tmp_path_factory.mktemp("out") / "dreams", limits)


def test_dreams_are_episodes_that_say_what_they_are(done: Dreamt, config: DreamConfig, source: Path) -> None:
    assert (done.dreams, done.accepted, done.new) == (12, 12, 12)
    info = dataset_info(done.path)
    assert info.episodes == 12
    assert set(info.lengths) == {LENGTH - 1}
    assert dict(info.cameras) == SIZES
    assert (info.robot_type, info.has_success) == ("arm", False)
    told = read_dreams(done.path, episodes=12)
    begins: dict[int | None, Episode] = dict(enumerate(read_episodes(source)))
    for record, episode in zip(told, read_episodes(done.path), strict=True):
        assert record.accepted
        assert record.more["actions"] == "pseudo"
        assert record.more["verified"] is False
        assert episode.task == record.instruction == begins[record.start.source_episode].task
        way = np.array(WAYS[episode.task])
        moved = episode.action[:, :2] @ way
        assert (moved >= 0).all()
        assert np.abs(episode.action[:, :2] - moved[:, None] * way).max() == 0
        first = begins[record.start.source_episode]
        for camera in SIZES:
            assert np.abs(episode.frames[camera][0].astype(int) - first.frames[camera][0]).mean() < 3
        np.testing.assert_allclose(episode.state[0], first.state[0])
        np.testing.assert_allclose(np.diff(episode.state, axis=0), episode.action[:-1, :2], atol=1e-5)
        assert set(record.scores) == {"deviation", "jerk", "saturation", "cycle", "failure", "duplicate"}
        assert record.scores["cycle"] < 0.5
    assert "12 of 12 dreams of pushes" in (done.path / "dreams.html").read_text()
    assert "pseudo-actions" in (done.path / "README.md").read_text()
    assert json.loads((done.path / "meta" / "dreams.json").read_text())["states_from"] == {"world": 12}


@pytest.mark.parametrize(("fault", "check"), [("jumps", "cycle"), ("still", "failure"), ("same", "duplicate")])
def test_faults_are_caught(config: DreamConfig, limits: Limits, tmp_path: Path, fault: str, check: str) -> None:
    strict = Limits({**limits.worst, "failure": 0.5, "duplicate": 0.9}, {})
    good = run(config, tmp_path / "good", strict, unfiltered=True)
    bad = run(config, tmp_path / "bad", strict, fault=fault, unfiltered=True)
    assert bad.faults.get(check, 0) >= 8 > good.faults.get(check, 0)
    told = read_dreams(bad.path, episodes=12)
    assert sum(not record.accepted for record in told) == 12 - bad.accepted
    assert all(any(one.startswith(check) for one in record.more["faults"]) for record in told if not record.accepted)


def test_nothing_accepted_and_nothing_made_are_errors(config: DreamConfig, tmp_path: Path, limits: Limits) -> None:
    with pytest.raises(ValueError, match=r"none of 12 dreams was accepted; the first: jerk .*, at most -1"):
        run(config, tmp_path / "a", Limits({"jerk": -1.0}))
    with pytest.raises(ValueError, match=r"none of 12 dreams was accepted; the first: NaN in chunk 1 of 1"):
        run(config, tmp_path / "b", limits, fault="nan")
    assert not (tmp_path / "a").exists()


def test_the_seed_comes_first_where_it_is_asked_for(config: DreamConfig, limits: Limits, tmp_path: Path) -> None:
    made = run(replace(config, per_instruction=1), tmp_path / "both", limits, with_seed=True)
    episodes = list(read_episodes(made.path))
    assert len(episodes) == EPISODES + 3
    for index in range(EPISODES):
        np.testing.assert_array_equal(episodes[index].action, real(index).action)
    success = episodes[-1].success
    assert success is not None
    assert not success.any()  # nobody has seen it succeed


def test_the_same_again_is_nothing_to_do_and_others_are_refused(
    done: Dreamt, config: DreamConfig, limits: Limits
) -> None:
    before = {file: file.stat().st_mtime_ns for file in done.path.rglob("*") if file.is_file()}
    assert run(config, done.path, limits).new == 0
    assert before == {file: file.stat().st_mtime_ns for file in done.path.rglob("*") if file.is_file()}
    with pytest.raises(ValueError, match="made with other options: seed 0 there, 5 here"):
        run(replace(config, seed=5), done.path, limits)
    with pytest.raises(ValueError, match="made with other options: limits"):
        run(config, done.path, Limits({**limits.worst, "cycle": 9.0}))
    with pytest.raises(ValueError, match="exists already and is not a dataset of dreams"):
        run(config, Path(config.dataset), limits)


def test_a_killed_run_goes_on_to_the_same_dataset(
    done: Dreamt, config: DreamConfig, limits: Limits, tmp_path: Path
) -> None:
    out = tmp_path / "dreams"
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from pushing import PushingOpener, USUAL, WAYS, LENGTH\n"
        "from cosmos_sim.data.runners import Here\n"
        "from cosmos_sim.synthesis.dream import dream\n"
        "from cosmos_sim.synthesis.plan import DreamConfig\n"
        "from cosmos_sim.synthesis.scores import Limits\n"
        "config = DreamConfig(sys.argv[2], 'painter', 'tracker', tuple(WAYS), per_instruction=4, frames=LENGTH, "
        "world='block')\n"
        "dream(config, Path(sys.argv[3]), opener=PushingOpener(config, pause=0.5), runner=Here('cpu'), "
        "limits=Limits({}), usual=USUAL, progress=False)\n"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), config.dataset, str(out)]
    process = subprocess.Popen(command)
    folder = out.with_name("dreams.dreaming") / "dreams"
    deadline = time.monotonic() + 300
    while len([*folder.glob("[0-9]*.npz")]) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    kept = len([*folder.glob("[0-9]*.npz")])
    assert 3 <= kept < 12
    again = run(config, out, limits)
    assert again.new == 12 - kept
    assert (out / "meta" / "dreams.jsonl").read_text() == (done.path / "meta" / "dreams.jsonl").read_text()
    for a, b in zip(read_episodes(out), read_episodes(done.path), strict=True):
        np.testing.assert_array_equal(a.action, b.action)
        np.testing.assert_array_equal(a.frames["above"], b.frames["above"])


def test_starts_are_spread_over_the_episodes_of_the_instruction(config: DreamConfig) -> None:
    tasks = [list(WAYS)[k % 3] for k in range(EPISODES)]
    jobs = plan_jobs(config, tasks)
    assert len({job.seed(config) for job in jobs}) == len(jobs) == 12
    for line, way in enumerate(WAYS):
        own = [job.episode for job in jobs if job.line == line]
        assert set(own) == {k for k, task in enumerate(tasks) if task == way}  # all of them are used
    anywhere = plan_jobs(replace(config, starts="any", per_instruction=EPISODES), tasks)
    assert {job.episode for job in anywhere if job.line == 0} == set(range(EPISODES))
    with pytest.raises(ValueError, match=r"no episode of .* has the instruction 'push up' to begin from"):
        plan_jobs(replace(config, instructions=("push up",)), tasks)
    with pytest.raises(ValueError, match="there are no instructions"):
        plan_jobs(replace(config, instructions=()), tasks)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"per_instruction": 0}, "per_instruction must be from 1 to 100000, got 0"),
        ({"frames": 2}, "frames must be from 3 to 10000, got 2"),
        ({"seed": -1}, "seed must lie in"),
        ({"guidance": float("nan")}, "guidance must be finite"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"samples": 1}, "samples must be at least 2"),
        ({"cameras": ("above", "above")}, "cameras must be at least one, each once"),
        ({"starts": "twin"}, "starts='twin' needs the twin's task"),
        ({"starts": "any", "twin": "Lift"}, "dreams from any start cannot be replayed in 'Lift'"),
    ],
)
def test_configs_that_make_no_sense(config: DreamConfig, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(config, **change)


def test_what_does_not_fit_is_refused(config: DreamConfig, done: Dreamt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Painter, "cameras", ("above", "wrist"))
    with pytest.raises(ValueError, match="the model imagines above, wrist, the dataset shows above, side"):
        PushingOpener(config).dreaming()
    monkeypatch.setattr(Painter, "cameras", None)
    with pytest.raises(ValueError, match="the model imagines one camera, the dataset shows above, side"):
        PushingOpener(config).dreaming()
    with pytest.raises(ValueError, match="is itself imagined"):
        action_range(str(done.path))
    with pytest.raises(ValueError, match="does not tell where in the simulator its episodes began"):
        PushingOpener(replace(config, twin="Lift")).dreaming()


class OneEyed(Painter):
    """Imagines the camera above alone."""

    cameras = ("above",)


def test_one_camera_of_two_is_imagined(config: DreamConfig, source: Path, tmp_path: Path) -> None:
    """Limits, dreams and the seed dataset beside them have no other, and the file tells."""
    one = replace(config, cameras=("above",), world=None, frames=6)

    def dreaming() -> Dreaming:
        return Dreaming(one, OneEyed(), Tracker(), usual=USUAL, starts=Starts(one))

    limits = set_limits(real_scores(dreaming()), given={"duplicate": 2.0})
    options: dict[str, Any] = {"opener": lambda device: Work(dreaming()), "runner": Here("cpu"), "usual": USUAL}
    made = dream(one, tmp_path / "dreams", limits=limits, with_seed=True, progress=False, **options)
    assert made.accepted > 0
    assert dict(dataset_info(made.path).cameras) == {"above": SIZES["above"]}
    (real_one,) = read_episodes(made.path, [0])
    assert set(real_one.frames) == {"above"}
    assert json.loads((made.path / "meta" / "dreams.json").read_text())["settings"]["cameras"] == ["above"]
    again = dream(one, tmp_path / "dreams", limits=limits, with_seed=True, progress=False, **options)
    assert again.new == 0
    with pytest.raises(ValueError, match="has no camera wrist, only above, side"):
        Starts(replace(one, cameras=("above", "wrist")))


def test_the_range_of_real_actions(source: Path) -> None:
    usual = action_range(str(source))
    every = np.concatenate([real(index).action for index in range(EPISODES)])
    np.testing.assert_array_equal(usual.low, every.min(axis=0))
    np.testing.assert_array_equal(usual.high, every.max(axis=0))
    np.testing.assert_allclose(usual.spread, every.std(axis=0), rtol=1e-5)
