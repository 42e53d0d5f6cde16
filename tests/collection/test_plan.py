"""What a collection consists of."""

from collections import Counter
from dataclasses import replace

import pytest

from cosmos_sim.collection.plan import SKILLS, CollectionConfig, parse_shares, plan_episode, plan_scene
from cosmos_sim.envs.twin.scenes import SCENES

CONFIG = CollectionConfig(task="Lift", episodes=400, seed=3, length=20, shares=SKILLS)


@pytest.mark.parametrize("seed", [0, 1, 7, 4000])
@pytest.mark.parametrize("episodes", [20, 101, 480])
def test_the_shares_hold_for_any_number_of_episodes(seed: int, episodes: int) -> None:
    config = replace(CONFIG, seed=seed)
    counts = Counter(plan_episode(config, index).skill for index in range(episodes))
    for skill, share in SKILLS.items():
        assert abs(counts[skill] - share * episodes) <= 3  # independent draws would stray by 20 of 480


def test_a_skill_without_share_never_acts() -> None:
    config = replace(CONFIG, shares={"expert": 0.0, "noisy": 1.0, "random": 0.0})
    assert {plan_episode(config, index).skill for index in range(400)} == {"noisy"}


def test_an_episode_depends_on_seed_and_index_alone() -> None:
    assert plan_episode(CONFIG, 17) == plan_episode(replace(CONFIG, episodes=50, length=9), 17)
    skills = [[plan_episode(replace(CONFIG, seed=s), i).skill for i in range(30)] for s in (0, 1)]
    assert skills[0] != skills[1]


def test_no_two_collections_share_a_seed_and_none_uses_those_of_evaluation() -> None:
    last, first = plan_episode(replace(CONFIG, seed=0), 999_998), plan_episode(replace(CONFIG, seed=1), 0)
    assert plan_episode(replace(CONFIG, seed=0), 0).seed == 1_000_000
    assert last.seed < first.seed == 2_000_000
    assert plan_episode(replace(CONFIG, seed=4000), 999_998).seed < 2**32


def test_shares_are_parsed() -> None:
    assert parse_shares("expert=.25, random=.75") == {"expert": 0.25, "random": 0.75}
    assert parse_shares("") == SKILLS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("expret=1", "unknown skill 'expret'; did you mean 'expert'"),
        ("expert=half", "share of skill 'expert' must be a number, got 'half'"),
        ("expert=.5,random=.4", "must sum to 1, got 0.9"),
        ("expert=1.5,random=-.5", "share of skill 'random' must be >= 0, got -0.5"),
        ("expert=nan", "share of skill 'expert' must be >= 0, got nan"),
        ("expert", "must read like"),
        ("expert=.5,expert=.5", "each skill once"),
    ],
)
def test_shares_that_are_wrong(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_shares(text)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("task", "Lfit", "Did you mean 'Lift'"),
        ("episodes", 0, "episodes must be in 1..999999, got 0"),
        ("seed", -1, "seed must be in 0..4000, got -1"),
        ("seed", 4001, "got 4001"),
        ("length", 1, "length must be at least 2 steps, got 1"),
        ("scenes", "bse", "Did you mean 'base'"),
        ("shares", {"expert": 0.5}, "sum to 1, got 0.5"),
    ],
)
def test_configs_that_are_wrong(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **{field: value})


def test_scenes_depend_on_seed_and_index_alone() -> None:
    assert plan_scene(CONFIG, 3) is None
    assert plan_scene(replace(CONFIG, scenes="spotlight"), 3) == SCENES["spotlight"]
    random = replace(CONFIG, scenes="random")
    assert plan_scene(random, 17) == plan_scene(replace(random, episodes=50, length=9, annotate=True), 17)
    scenes = [plan_scene(replace(random, seed=seed), index) for seed in (0, 1) for index in range(10)]
    assert len(set(map(repr, scenes))) == 20
    with pytest.raises(ValueError, match="scenes are of the task Lift, not of 'Stack'"):
        replace(CONFIG, task="Stack", scenes="base")


def test_a_config_from_before_there_were_scenes_is_the_same() -> None:
    older = {key: value for key, value in CONFIG.as_json().items() if key not in ("scenes", "annotate", "verbs")}
    assert CONFIG.differences(older) == []
    assert replace(CONFIG, annotate=True).differences(older) == ["annotate False there, True here"]
