"""Policies that do what they are told, learned from datasets of several tasks, recorded and dreamt."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cosmos_sim.cli import main
from cosmos_sim.data.dreams import DreamRecord, DreamStart, write_dreams
from cosmos_sim.data.lerobot import read_episodes, write_dataset
from cosmos_sim.policies.demonstrations import Selection, joined, load_demonstrations
from cosmos_sim.policies.load import load_policy
from cosmos_sim.policies.recipe import policy_recipe
from cosmos_sim.training import TrainConfig, train
from cosmos_sim.types import Episode

SIZE = 32
COLOURS = {"red": (240, 40, 30), "blue": (40, 60, 240)}
TINY = {"resolution": SIZE, "crop": SIZE, "width": 8, "keypoints": 8, "features": 16}


def scene(rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    """A picture with a square of each colour, one on the left and one on the right, and the row of each in [-1, 1]."""
    image = np.full((SIZE, SIZE, 3), (50, 55, 60), np.uint8)
    rows = {colour: rng.uniform(-1, 1) for colour in COLOURS}
    for side, colour in enumerate(rng.permutation(list(COLOURS))):
        top, left = round((rows[colour] + 1) / 2 * (SIZE - 8)), 4 + 16 * side
        image[top : top + 8, left : left + 8] = COLOURS[colour]
    return image, rows


def told(seed: int, colour: str, *, steps: int = 8) -> Episode:
    """Every step shows another scene, and the action is the row of the square that is meant."""
    rng = np.random.default_rng(seed)
    scenes = [scene(rng) for _ in range(steps)]
    return Episode(
        frames={"front": np.stack([image for image, _ in scenes])},
        state=rng.normal(size=(steps, 2)).astype(np.float32),
        action=np.array([[rows[colour]] for _, rows in scenes], np.float32),
        task=f"point at the {colour} square",
        success=np.arange(steps) == steps - 1,
        reward=np.zeros(steps, np.float32),
    )


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty episodes, every other one about the red square."""
    episodes = [told(seed, list(COLOURS)[seed % 2]) for seed in range(40)]
    return write_dataset(episodes, tmp_path_factory.mktemp("told") / "squares")


@pytest.fixture(scope="module")
def dreams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four dreams without ``next.success``, of which numbers 1 and 3 were rejected."""
    episodes = [replace(told(50 + k, "blue"), success=None, reward=None) for k in range(4)]
    path = write_dataset(episodes, tmp_path_factory.mktemp("dreamt") / "dreams")
    records = [DreamRecord(k, episodes[k].task, 7, DreamStart(), k % 2 == 0) for k in range(4)]
    write_dreams(path, records)
    return path


@pytest.mark.parametrize("family", ["regression", "diffusion"])
def test_does_what_it_is_told(squares: Path, tmp_path: Path, family: str):
    torch.set_num_threads(1)
    sizes = {"regression": {"horizon": 1, "execute": 1}, "diffusion": {"channels": (32,), "horizon": 1, "execute": 1}}
    one = policy_recipe(
        Selection(str(squares), held_out=0.0),
        family=family,
        language=True,
        encoder=TINY,
        model=sizes[family],
        batch_size=32,
        jitter=0.0,
    )
    batch = one.batch(0, torch.Generator().manual_seed(0))
    assert batch.text is not None
    assert batch.text.shape == (32, 24, 320)
    config = TrainConfig(steps=150, lr=3e-3, warmup=20, ema=0.9, log_every=50, device="cpu", autocast="fp32")
    train(one, config, tmp_path / "run")
    policy = load_policy(tmp_path / "run" / "export")
    rng = np.random.default_rng(99)
    scenes = [scene(rng) for _ in range(60)]
    observation = {"pixels": {"front": np.stack([image for image, _ in scenes])}, "agent_pos": np.zeros((60, 2))}
    meant = rng.choice(list(COLOURS), 60)
    rows = {colour: np.array([found[colour] for _, found in scenes]) for colour in COLOURS}
    wanted = np.where(meant == "red", rows["red"], rows["blue"])
    policy.reset(range(60))
    found = policy.act(observation, {"task": np.array([f"point at the {c} square" for c in meant], dtype=object)})
    other = np.where(meant == "red", rows["blue"], rows["red"])
    assert np.abs(found[:, 0, 0] - wanted).mean() < 0.1 < 0.4 < np.abs(found[:, 0, 0] - other).mean()
    policy.reset(range(60))
    red = policy.act(observation, {"task": "point at the red square"})[:, 0, 0]
    assert np.abs(red - rows["red"]).mean() < 0.1

    with pytest.raises(ValueError, match=r"info\['task'\].*does not give"):
        policy.act(observation, {})
    folder = tmp_path / "run" / "export"
    language = json.loads((folder / "config.json").read_text())["model"]["encoder"]["language"]
    assert language["vocabulary"] == ["at", "blue", "point", "red", "square", "the"]
    card = (folder / "README.md").read_text()
    assert "# A " + family + " policy: 2 tasks" in card
    assert 'Does what the text `info["task"]` says, and needs one.' in card


def test_a_policy_that_cannot_read_is_warned_of_several_tasks(squares: Path, tmp_path: Path):
    selection = Selection(str(squares), demonstrations=2)
    with pytest.warns(UserWarning, match=r"2 tasks.*cannot know which is meant: train it with language"):
        blind = policy_recipe(selection, encoder=TINY)
    assert blind.batch(0, torch.Generator()).text is None
    blind.export(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model"]["encoder"]["language"] is None
    assert "info" not in (tmp_path / "README.md").read_text()


def test_an_episode_without_words_cannot_be_told(squares: Path, tmp_path: Path):
    mute = [
        replace(next(iter(read_episodes(squares, episodes=[k]))), task=task) for k, task in enumerate(("go", "..."))
    ]
    path = write_dataset(mute, tmp_path / "mute")
    with pytest.raises(ValueError, match=r"must have words, got '\.\.\.'"):
        policy_recipe(Selection(str(path)), language=True, encoder=TINY)


def test_rejected_dreams_are_left_out_unless_wanted(squares: Path, dreams: Path, tmp_path: Path):
    def chosen(path: Path, **changes) -> tuple[int, ...]:
        return load_demonstrations(Selection(str(path), **changes), cameras=(), resolution=SIZE).episodes

    assert chosen(dreams) == (0, 2)
    assert chosen(dreams, successful=False) == (0, 1, 2, 3)
    mixed = write_dataset(read_episodes(squares, episodes=[0, 1, 2, 3]), tmp_path / "mixed")
    write_dreams(mixed, [DreamRecord(2, "dream", 7, DreamStart(), False)])
    assert chosen(mixed) == (0, 1, 3)
    assert chosen(mixed, successful=False) == (0, 1, 2, 3)
    (dreams / "meta" / "dreams.jsonl").rename(tmp_path / "kept.jsonl")
    with pytest.raises(ValueError, match=r"no next.success.*--all-episodes"):
        chosen(dreams)
    (tmp_path / "kept.jsonl").rename(dreams / "meta" / "dreams.jsonl")


def test_datasets_are_learned_from_together(squares: Path, dreams: Path):
    parts = [
        load_demonstrations(Selection(str(path), held_out=0.4, **some), cameras=("front",), resolution=SIZE)
        for path, some in ((squares, {"demonstrations": 3}), (dreams, {}))
    ]
    both = joined(parts)
    assert both.episodes == (0, 1, 2, 0, 2)
    assert both.tasks == ("point at the red square", "point at the blue square")
    assert both.task.tolist() == [0] * 8 + [1] * 8 + [0] * 8 + [1] * 16
    assert both.last.tolist() == [end for end in (7, 15, 23, 31, 39) for _ in range(8)]
    for name in ("train_rows", "held_out_rows"):
        rows = [getattr(part, name) for part in parts]
        assert torch.equal(getattr(both, name), torch.cat([rows[0], rows[1] + 24]))
    second = next(iter(read_episodes(dreams, episodes=[2])))
    np.testing.assert_array_equal(both.frames["front"][32:40], second.frames["front"])
    np.testing.assert_array_equal(both.chunks(torch.tensor([39]), 2)[0], second.action[[7, 7]])
    other = replace(parts[1], action=torch.zeros(16, 3))
    with pytest.raises(ValueError, match="1 and 3 values of an action"):
        joined([parts[0], other])


def test_train_policy_reads_recorded_and_dreamt_episodes(
    squares: Path, dreams: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "run"
    words = ["train", "policy", "--data", str(squares), str(dreams), "--out", str(out), "--language", "--kind"]
    words += ["regression", "--demonstrations", "2", "--resolution", "32", "--crop", "32", "--steps", "1"]
    main([*words, "--all-episodes", "--device", "cpu"])
    assert str(out / "export") in capsys.readouterr().out
    training = load_policy(out / "export").metadata["training"]
    assert training["data"] == "squares, dreams"
    assert training["episodes"] == 6
    assert training["task"] == ["point at the red square", "point at the blue square"]
    assert not training["successful_only"]
