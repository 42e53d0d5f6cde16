import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cosmos_sim.collection.collect import collect
from cosmos_sim.collection.plan import CollectionConfig
from cosmos_sim.data.lerobot import read_episodes
from cosmos_sim.envs.twin.instructions import parse_instruction
from cosmos_sim.envs.twin.simulation import start_of
from cosmos_sim.envs.twin.tabletop_layout import draw_layout

CONFIG = CollectionConfig(
    task="Tabletop", episodes=3, seed=2, length=4, shares={"expert": 0.5, "wrong": 0.5}, split="unseen_behaviours"
)


def test_each_episode_is_of_its_own_instruction(tmp_path: Path) -> None:
    out = tmp_path / "tabletop"
    collect(CONFIG, out, workers=1, progress=False)
    record = json.loads((out / "meta" / "collection.json").read_text())
    assert record["config"]["split"] == "unseen_behaviours"
    seeds = [entry["seed"] for entry in record["episodes"]]
    assert seeds == [3_000_000, 3_000_001, 3_000_002]
    drawn = [draw_layout(start_of(seed), split="unseen_behaviours") for seed in seeds]
    texts = [layout.instruction.text for layout in drawn]
    assert len(set(texts)) > 1
    assert [entry["instruction"] for entry in record["episodes"]] == texts
    episodes = list(read_episodes(out))
    assert [episode.task for episode in episodes] == texts
    assert [len(episode.action) for episode in episodes] == [4, 4, 4]
    truth = np.load(out / "meta" / "simulator_state.npz")
    np.testing.assert_allclose(truth["thing_pos"][4], drawn[1].placed[0].start, atol=1e-3)
    assert "--split unseen_behaviours" in (out / "README.md").read_text()


def test_misuse_is_named() -> None:
    with pytest.raises(ValueError, match="'Tabletop' is told what to do: say from which split"):
        CollectionConfig(task="Tabletop", episodes=3, seed=2, length=4, shares={"expert": 1.0})
    with pytest.raises(ValueError, match="'Lift' is always the same task and has no split 'seen'"):
        CollectionConfig(task="Lift", episodes=3, seed=2, length=4, shares={"expert": 1.0}, split="seen")
    with pytest.raises(ValueError, match="'Lift' is always the same task and has no verbs lift"):
        CollectionConfig(task="Lift", episodes=3, seed=2, length=4, shares={"expert": 1.0}, verbs=("lift",))
    with pytest.raises(ValueError, match="verbs must differ, got lift, lift"):
        replace(CONFIG, split="seen", verbs=("lift", "lift"))
    with pytest.raises(ValueError, match=r"unknown verb of seen 'push lefd', choose.*you mean 'push left'"):
        replace(CONFIG, split="seen", verbs=("lift", "push lefd"))
    with pytest.raises(ValueError, match="unknown verb of seen 'push forward'"):
        replace(CONFIG, split="seen", verbs=("push forward",))


def test_a_collection_of_some_verbs(tmp_path: Path) -> None:
    some = replace(CONFIG, episodes=5, length=2, split="seen", verbs=("push left", "lift"))
    collect(some, tmp_path / "some", workers=1, progress=False)
    record = json.loads((tmp_path / "some" / "meta" / "collection.json").read_text())
    told = [entry["instruction"] for entry in record["episodes"]]
    assert {parse_instruction(text).verb for text in told} == {"push left", "lift"}
    assert [episode.task for episode in read_episodes(tmp_path / "some")] == told
    assert "--verbs 'push left' lift" in (tmp_path / "some" / "README.md").read_text()
    collect(some, tmp_path / "some", workers=1, progress=False)  # there already, of the same config
    with pytest.raises(ValueError, match="verbs"):
        collect(replace(some, verbs=("lift",)), tmp_path / "some", workers=1, progress=False)
