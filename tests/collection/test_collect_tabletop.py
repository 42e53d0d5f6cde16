import json
from pathlib import Path

import numpy as np
import pytest

from cosmos_sim.collection.collect import collect
from cosmos_sim.collection.plan import CollectionConfig
from cosmos_sim.data.lerobot import read_episodes
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
