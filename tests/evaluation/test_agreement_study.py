"""The study of experiments/agreement.py, with closed-form worlds for both sides and risers for its policies."""

import json
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hand_world import HandWorld, Riser

from cosmos_sim.collection.plan import SEEDS_PER_COLLECTION, SKILLS
from cosmos_sim.envs.held import HeldWorlds
from cosmos_sim.evaluation.evaluate import Study, run_study
from cosmos_sim.evaluation.report import strict_json
from cosmos_sim.evaluation.run import Contender, Side

EPISODES = 4


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "experiments")
    import agreement

    return agreement


def hand_side(name: str, gain: float) -> Side:
    world = HandWorld(gain=gain)
    return Side(
        name,
        {"gain": gain},
        world.spec.fps,
        EPISODES,
        lambda count: HeldWorlds(count, world, horizon=8),
        lambda seeds: {"twin_seed": list(seeds)},
    )


def test_policies_are_independent_and_of_four_families(study):
    specs = study.SPECS
    assert len(specs) >= 12
    assert len({spec.name for spec in specs}) == len({spec.seed for spec in specs}) == len(specs)
    families = Counter(spec.family for spec in specs)
    assert set(families) == set(study.FAMILIES)
    assert min(families.values()) >= 2
    assert {skill for spec in specs for skill in spec.skills} <= set(SKILLS)
    demonstrations = [spec.demonstrations for spec in specs]
    assert min(demonstrations) <= 5 < 200 <= max(demonstrations) <= 300


def test_seeds_meet_no_collection_and_no_look(study):
    from policies import LOOKS

    assert study.FIRST_SEED + 1000 <= LOOKS.start < LOOKS.stop <= SEEDS_PER_COLLECTION


def test_the_figures_tell_every_episode(study, tmp_path):
    wills = dict(zip([spec.name for spec in study.SPECS], np.linspace(0.1, 0.9, len(study.SPECS)), strict=True))
    found = run_study(
        Study(
            contenders=[Contender(n, lambda w=w: Riser(w), {"will": w}) for n, w in wills.items()],
            worlds=[hand_side("dream", 0.12)],
            truth=hand_side("real", 0.1),
            seeds=range(40, 40 + EPISODES),
            task="raise the hand",
            horizon=8,
            replay=lambda outcomes: [outcome.state[-1, 2] > 0.55 for outcome in outcomes],
        ),
        tmp_path,
    )
    figures = json.loads(strict_json(study.figures(found, "abc")))
    assert figures["seeds"] == [40, 40 + EPISODES - 1]
    assert figures["agreement"]["policies"] == len(study.SPECS)
    assert [at["steps"] for at in figures["by horizon"]] == [2, 4, 6, 8]
    for policy, result in zip(figures["policies"], found.policies, strict=True):
        assert policy["name"] == result.name
        for side, name in (("truth", "real"), ("world", "dream")):
            steps = policy[side]["steps to success"]
            episodes = result.sides[name].episodes
            assert [step is not None for step in steps] == [episode.success for episode in episodes]
            assert policy[side]["successes"] == len(steps) - steps.count(None)
        assert policy["difference"] == pytest.approx(policy["world"]["rate"] - policy["truth"]["rate"])
    head = figures["success head"]["the same actions in the simulator"]
    parts = [policy["replay"] for policy in figures["policies"]]
    assert head["true_positive"] == sum(part["true_positive"] for part in parts) > 0
    share = head["true_positive"] / (head["true_positive"] + head["false_negative"])
    other = head["true_negative"] / (head["true_negative"] + head["false_positive"])
    assert head["balanced_accuracy"] == pytest.approx((share + other) / 2)
    assert [rate.successes for rate in study.rates(found, study.SPECS[-1].name)] == [
        figures["policies"][-1][side]["successes"] for side in ("world", "truth")
    ]
