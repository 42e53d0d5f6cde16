"""A dataset of dreams before the simulator and before models, through the command."""

import json
import re
import shutil

import numpy as np
import pytest
from chat_server import said
from scipy import stats
from tiny_vlm import tiny_vlm

from cosmos_sim.cli import main
from cosmos_sim.data.dreams import FILE, DreamRecord, DreamStart, write_dreams
from cosmos_sim.data.lerobot import write_dataset
from cosmos_sim.envs.twin.env import CosmosTwin
from cosmos_sim.policies.scripted import scripted_policy
from cosmos_sim.synthesis.bench import mean_score
from cosmos_sim.types import Episode


def carried_out(twin, seed, *, steps=None):
    """An episode of the simulator: an expert's up to its success, or one of as many steps that do nothing."""
    policy = scripted_policy("Lift", "expert")
    policy.reset([seed])
    observation, info = twin.reset(seed=seed)
    pictures, states, actions = [], [], []
    while len(actions) < (steps or 40) and not info["is_success"]:
        action = policy.act({}, {"state": {name: value[None] for name, value in info["state"].items()}})[0, 0]
        pictures.append(observation["pixels"])
        states.append(observation["agent_pos"])
        actions.append(action if steps is None else np.zeros(7, np.float32))
        observation, _, _, _, info = twin.step(actions[-1])
    assert info["is_success"] == (steps is None)
    frames = {camera: np.stack([picture[camera] for picture in pictures]) for camera in pictures[0]}
    return Episode(frames, np.stack(states), np.stack(actions), "lift the cube")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """One recorded episode; then dreams that lift the cube, do not, and of which the simulator knows no start."""
    twin = CosmosTwin("Lift", terminate_on_success=False)
    lifted, idle, third = carried_out(twin, 1), carried_out(twin, 2, steps=5), carried_out(twin, 3, steps=4)
    twin.close()
    folder = write_dataset([third, lifted, idle, third], tmp_path_factory.mktemp("dreams") / "dreams")
    starts = (DreamStart(seed=1, task="Lift"), DreamStart(seed=2), DreamStart(source_episode=0))
    write_dreams(
        folder,
        [DreamRecord(k, "lift the cube", 9, start, k == 1) for k, start in enumerate(starts, 1)],
    )
    return folder


def score(dataset, *options):
    main(["score-dreams", "--dataset", str(dataset), *map(str, options)])


def test_the_simulator_judges_the_dreams_and_a_model(dataset, tmp_path, serve, capsys):
    answers = [{"following": f, "physics": p, "reason": "?"} for f, p in ((80, 90), (10, 60), (30, 20))]
    server = serve(lambda _, number: (200, said(json.dumps(answers[(number - 1) % 3]))))
    judge, out = f"{server.url}#tiny", tmp_path / "scores" / "report.json"
    command = (dataset, "--judge", "twin", judge, "--task", "Lift", "--moments", 3, "--out", out)
    score(*command)
    text, report = capsys.readouterr().out, json.loads(out.read_text())
    assert [len(body["messages"][0]["content"]) for body in server.bodies] == [4, 4, 4]
    assert len({body["seed"] for body in server.bodies}) == 3
    twin, model = report["judges"]
    assert [group["group"] for group in twin["groups"]] == ["all", "accepted", "rejected"]
    assert [group["following"]["value"] for group in twin["groups"]] == [0.5, 1.0, 0.0]
    assert [group["dreams"] for group in twin["groups"]] == [2, 1, 1]
    assert twin["groups"][0]["physics"]["value"] > 0.9  # encoded as video, but else what the actions do
    assert twin["unjudged"] == {"3": "its start is of no seed of the simulator"}
    assert twin["calibration"] is None
    overall = model["groups"][0]
    assert (overall["dreams"], overall["following"]["value"]) == (3, pytest.approx(0.4))
    spread = stats.t.interval(0.95, 2, 0.4, stats.sem([0.8, 0.1, 0.3]))
    assert (overall["following"]["low"], overall["following"]["high"]) == (0.0, min(1.0, spread[1]))
    table = model["calibration"]
    assert (table["accuracy"], table["balanced_accuracy"], table["auc"]["value"]) == (1.0, 1.0, 1.0)
    assert table["brier"] == pytest.approx((0.2**2 + 0.1**2) / 2)
    assert [(part["low"], part["rate"]) for part in table["bins"]] == [(0.1, 0.0), (0.8, 1.0)]
    (first, *_) = report["dreams"]
    assert first["episode"] == 1
    assert first["judgements"][judge] == {"following": 0.8, "physics": 0.9, "reason": "?"}
    assert first["judgements"]["twin"]["following"] == 1.0
    assert "of 2 dreams 1 do what they were told" in text
    assert "twin did not judge 1 (first: episode 3" in text

    score(*command)
    assert len(server.bodies) == 3
    assert json.loads(out.read_text()) == report
    score(dataset, "--judge", judge, "--moments", 3, "--seed", 1, "--out", out)
    assert len(server.bodies) == 6


def test_a_run_that_was_stopped_goes_on(dataset, tmp_path, serve):
    fine = said('{"following": 10, "physics": 20, "reason": "é"}')
    server = serve(lambda _, number: (403, {"error": "no money"}) if number == 3 else (200, fine))
    command = (dataset, "--judge", f"{server.url}#m", "--out", tmp_path / "r.json")
    with pytest.raises(SystemExit):
        score(*command)
    assert not (tmp_path / "r.json").exists()
    ledger = tmp_path / "r.judgements.jsonl"
    whole = ledger.read_bytes()
    ledger.write_bytes(whole[:-9])  # as a kill would leave the second line
    score(*command)
    assert len(server.bodies) == 3 + 2
    assert ledger.read_bytes().startswith(whole[:-9] + b"\n")
    (judge,) = json.loads((tmp_path / "r.json").read_text())["judges"]
    assert judge["groups"][0]["dreams"] == 3


def test_a_model_that_answers_nothing_usable_leaves_a_dream_unjudged(dataset, tmp_path, serve):
    fine = json.dumps({"following": 50, "physics": 50})
    server = serve(lambda _, number: (200, said(fine if number in (1, 5) else "I cannot tell.")))
    score(dataset, "--judge", f"{server.url}#m", "--out", tmp_path / "r.json")
    (judge,) = json.loads((tmp_path / "r.json").read_text())["judges"]
    assert list(judge["unjudged"]) == ["2"]
    assert "no usable reply in 3 attempts" in judge["unjudged"]["2"]
    assert judge["groups"][0]["dreams"] == 2
    assert judge["calibration"] is None


def test_a_network_judges_without_a_server(dataset, tmp_path, capsys):
    folder = tiny_vlm(tmp_path / "vlm")
    score(dataset, "--judge", folder, "--moments", 2, "--grid", "--cameras", "wrist", "--device", "cpu")
    text = capsys.readouterr().out
    assert "3 dreams, 1 instruction" in text
    assert str(folder) in text


@pytest.mark.parametrize(
    ("line", "options", "words"),
    [
        (None, (), "holds no dreams: it has no meta/dreams.jsonl"),
        ('{"episode": 1}', (), "line 2 of .* is not a dream's: it lacks instruction"),
        (
            {"instruction": "push the cube"},
            ("--task", "Lift"),
            "episode 2 cannot be judged .*always is 'lift the cube', not 'push the cube'",
        ),
        (
            {"instruction": "lift the rde cube", "start": {"seed": 1}},
            (),
            "episode 2 cannot be judged .*unknown colour 'rde'.*mean 'red'",
        ),
        ({"start": {"seed": 1, "task": "Stack"}}, ("--task", "Lift"), "episode 2 is of .*'Stack', not 'Lift'"),
        ({}, ("--judge", "twinn"), "unknown judge 'twinn'.*did you mean 'twin'"),
        ({}, ("--judge", "org/absent"), "the judge 'org/absent' is not here"),
        ({}, ("--judge", "twin", "twin"), "each once"),
        ({}, ("--moments", "4"), "would be ignored"),
        ({}, ("--judge", "http://localhost:1#m", "--task", "Lift"), "task='Lift' would be ignored"),
        ({}, ("--judge", "http://localhost:1#m", "--moments", "1"), "2 moments or more, got 1"),
    ],
)
def test_mistakes_are_named(dataset, tmp_path, capsys, line, options, words):
    copy = tmp_path / "copy"
    shutil.copytree(dataset, copy)
    first = json.loads((dataset / FILE).read_text().splitlines()[0])
    if line is None:
        (copy / FILE).unlink()
    else:
        second = line if isinstance(line, str) else json.dumps({**first, "episode": 2, **line})
        (copy / FILE).write_text(f"{json.dumps(first)}\n{second}\n")
    with pytest.raises(SystemExit) as caught:
        score(copy, *options)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert re.search(words, error), error


def test_the_interval_fits_the_scores():
    verdicts = mean_score([1.0, 0.0, 1.0, 1.0])
    exact = stats.binomtest(3, 4).proportion_ci()
    assert (verdicts.value, verdicts.low, verdicts.high) == (0.75, pytest.approx(exact.low), pytest.approx(exact.high))
    assert mean_score([0.3]).low is None
    assert mean_score([]).value is None
