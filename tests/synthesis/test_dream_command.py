"""``cosmos-sim dream`` from end to end, with networks that are real, tiny and random, and the simulator's Lift."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_transfer import SIZE, VIEWS, write_exports

from cosmos_sim.cli import main
from cosmos_sim.collection.collect import collect
from cosmos_sim.collection.plan import CollectionConfig
from cosmos_sim.data.dreams import read_dreams
from cosmos_sim.data.lerobot import dataset_info, read_episodes, write_dataset
from cosmos_sim.envs.twin.env import CosmosTwin
from cosmos_sim.envs.twin.replay import replay
from cosmos_sim.types import Episode
from cosmos_sim.world_model.inverse_dynamics import InverseDynamics, InverseDynamicsConfig, InverseDynamicsNet

FRAMES = 9


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = CollectionConfig(task="Lift", episodes=2, seed=3, length=33, shares={"expert": 1.0})
    return collect(config, tmp_path_factory.mktemp("seed") / "lifts", progress=False).path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world without branches, packed by the command."""
    folder = tmp_path_factory.mktemp("world")
    base = write_exports(folder / "exports") / "base"
    size = ",".join(map(str, SIZE))
    shape = ["--views", *VIEWS, "--size", size, "--chunk", "5", "--steps", "2", "--guidance", "1"]
    main(["pack", "--model", str(base), "--bare", *shape, "--out", str(folder / "world")])
    return folder / "world"


@pytest.fixture(scope="module")
def labeller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    net = InverseDynamicsNet(
        InverseDynamicsConfig(VIEWS, 7, chunk=4, resolution=32, width=8, dim=16, blocks=1, heads=2, steps=2)
    )
    torch.nn.init.normal_(net.out.weight, std=0.3)
    net.binary[6] = True
    folder = tmp_path_factory.mktemp("labeller")
    InverseDynamics(net, figures={}).write(folder)
    return folder


def run(demos: Path, model: Path, labeller: Path, out: Path, *options: str) -> None:
    networks = ["--model", str(model), "--labeller", str(labeller), "--device", "cpu"]
    main(["dream", "--dataset", str(demos), *networks, "--out", str(out), "--frames", str(FRAMES), *options])


def test_dreams_that_are_replayed_where_they_began(
    demos: Path, model: Path, labeller: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "dreams"
    options = ("--per-instruction", "3", "--twin", "Lift", "--limit", "replay=2", "duplicate=2", "--slack", "50")
    run(demos, model, labeller, out, *options)
    assert "3 of 3 dreams passed (100%)" in capsys.readouterr().out
    info = dataset_info(out)
    assert (info.episodes, info.has_success, info.robot_type) == (3, True, "panda")
    assert info.action_names == dataset_info(demos).action_names
    told = read_dreams(out, episodes=3)
    originals = list(read_episodes(demos))
    planned = json.loads((demos / "meta" / "collection.json").read_text())["episodes"]
    for record, episode in zip(told, read_episodes(out), strict=True):
        assert record is not None
        first = record.start.source_episode
        assert first is not None
        assert (record.start.seed, record.start.task) == (planned[first]["seed"], "Lift")
        again = replay("Lift", planned[first]["seed"], episode.action)
        np.testing.assert_allclose(episode.state, again.state[:-1], atol=1e-6)  # of the replay, for want of a world
        assert record.scores["replay"] == float(not again.success)
        assert record.more["verified"] == again.success
        shown = episode.frames["wrist"][0].astype(int)
        assert np.abs(shown - originals[first].frames["wrist"][0]).mean() < 4
        assert np.abs(episode.frames["wrist"][-1].astype(int) - shown).mean() > 4
    run(demos, model, labeller, out, *options)
    assert "is complete already: nothing to do" in capsys.readouterr().out
    page = (out / "dreams.html").read_text()
    assert page.count("<video") == 3
    assert "lift the cube" in page
    assert "<polyline" in page


def test_fresh_starts_and_a_file_of_instructions(demos: Path, model: Path, labeller: Path, tmp_path: Path) -> None:
    file = tmp_path / "instructions.txt"
    file.write_text("den Würfel heben\n", encoding="utf-8")
    out = tmp_path / "dreams"
    options = ["--instructions", str(file), "--per-instruction", "1", "--starts", "twin", "--twin", "Lift"]
    run(demos, model, labeller, out, *options, "--unfiltered")
    (record,) = read_dreams(out, episodes=1)
    assert record is not None
    assert record.instruction == "den Würfel heben"
    (episode,) = read_episodes(out)
    twin = CosmosTwin("Lift")
    observation, _ = twin.reset(seed=record.start.seed)
    twin.close()
    assert np.abs(episode.frames["agentview"][0].astype(int) - observation["pixels"]["agentview"]).mean() < 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--limit", "cycles=1"], "unknown check 'cycles'"),
        (["--limit", "cycle=wide"], "cycle='wide' is no number"),
        (["--twin", "Lif"], "Did you mean 'Lift'"),
        (["--frames", "60"], "no episode that succeeds has the 60 frames of a dream"),
    ],
)
def test_refusals(
    demos: Path,
    model: Path,
    labeller: Path,
    tmp_path: Path,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        run(demos, model, labeller, tmp_path / "dreams", *options)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "dreams").exists()


def test_a_seed_without_task_texts_and_a_foreign_labeller(
    demos: Path, model: Path, tmp_path: Path, labeller: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (first,) = read_episodes(demos, [0])
    silent = Episode(first.frames, first.state, first.action, "", first.success, first.reward)
    write_dataset([silent], tmp_path / "silent")
    with pytest.raises(SystemExit):
        run(tmp_path / "silent", model, labeller, tmp_path / "dreams")
    assert "has no task texts: give a file of instructions" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(demos, model, model, tmp_path / "dreams")
    assert "describes kind='transfer', not a inverse dynamics" in capsys.readouterr().err
