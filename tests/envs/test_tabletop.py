import numpy as np
import pytest

from cosmos_sim.envs.twin.env import CosmosTwin
from cosmos_sim.envs.twin.instructions import SPLITS, UNSEEN_THINGS, VERBS, Thing, parse_instruction
from cosmos_sim.envs.twin.replay import replay
from cosmos_sim.envs.twin.simulation import start_of
from cosmos_sim.envs.twin.tabletop_goals import Situation, goal_of, is_done
from cosmos_sim.envs.twin.tabletop_layout import FINGER_ROOM, REACH, draw_layout
from cosmos_sim.envs.twin.tabletop_looks import LOOKS, PAINT, UNSEEN_LOOKS
from cosmos_sim.envs.twin.tabletop_shapes import BODIES, radius
from cosmos_sim.policies.scripted import scripted_policy


@pytest.fixture(scope="module")
def twin():
    env = CosmosTwin("Tabletop", render_mode="rgb_array")
    yield env
    env.close()


def motion(count: int) -> np.ndarray:
    actions = np.random.default_rng(1).uniform(-1, 1, (count, 7)).astype(np.float32)
    actions[:, 2] = -np.abs(actions[:, 2])
    return actions


def shown(twin: CosmosTwin) -> set[str]:
    data = twin._simulation.data
    return {body for body in BODIES if np.abs(data.body(body).xpos[:2]).max() < 0.5}


@pytest.mark.parametrize("split", SPLITS)
def test_layouts_have_room_and_leave_something_to_do(split):
    for seed in range(60):
        layout = draw_layout(seed, split=split)
        assert layout == draw_layout(seed, split=split)
        things = [placed.thing for placed in layout.placed]
        assert tuple(things[: len(layout.instruction.things)]) == layout.instruction.things
        assert 2 <= len(things) <= 4
        assert len(set(things)) == len(things) == len({placed.body for placed in layout.placed})
        assert all(BODIES[placed.body] == placed.thing.shape for placed in layout.placed)
        others = things[len(layout.instruction.things) :]
        assert others
        assert not UNSEEN_THINGS.intersection(others)
        places = np.array([placed.place for placed in layout.placed])
        for i, first in enumerate(things):
            for j, second in enumerate(things[:i]):
                gap = np.linalg.norm(places[i] - places[j]) - radius(first.shape) - radius(second.shape)
                assert gap >= FINGER_ROOM
        start = layout.placed[0].start
        target = None if layout.instruction.target is None else layout.placed[1].start
        goal = goal_of(layout.instruction, start, target)
        assert all(low <= value <= high for value, (low, high) in zip(goal[:2], REACH, strict=True))
        now = Situation(start, start, held=False, target=target, target_rotation=np.eye(3), touching=False)
        assert not is_done(layout.instruction, now)
        assert layout.look in (UNSEEN_LOOKS if split == "unseen_environments" else LOOKS).values()


def test_no_look_is_on_both_sides():
    assert not set(LOOKS.values()) & set(UNSEEN_LOOKS.values())


def test_it_does_as_it_is_told(twin):
    _, info = twin.reset(seed=4, options={"instruction": "Place the blue can in the white bowl."})
    assert info["task"] == twin.task_description == "place the blue can in the white bowl"
    assert shown(twin) >= {"can_a", "bowl_a"}
    assert 3 <= len(shown(twin)) <= 4
    state = info["state"]
    np.testing.assert_array_equal(state["thing_pos"], state["can_a_pos"])
    np.testing.assert_array_equal(state["target_pos"], state["bowl_a_pos"])
    np.testing.assert_allclose(state["goal_pos"][:2], state["bowl_a_pos"][:2])
    assert not info["is_success"]


def test_the_seed_decides_the_instruction(twin):
    texts = [twin.reset(seed=seed)[1]["task"] for seed in (5, 6, 7, 5)]
    assert texts[0] == texts[3]
    assert len(set(texts)) == 3
    assert texts[0] == draw_layout(start_of(5)).instruction.text


def test_every_thing_is_seen_and_has_its_colour(twin):
    for seed in range(6):
        observation, _ = twin.reset(seed=seed)
        view = twin.annotate()["agentview"]
        for placed in twin._simulation.layout.placed:
            pixels = view.segments == twin.segment_names.index(placed.body)
            assert pixels.sum() > 25
            mean = observation["pixels"]["agentview"][pixels].mean(0) / 255
            distances = {
                name: np.linalg.norm(mean / max(mean.max(), 0.3) - np.array(colour) / max(*colour, 0.3))
                for name, colour in PAINT.items()
            }
            if placed.thing.colour not in ("white", "black"):
                assert min(distances, key=distances.__getitem__) == placed.thing.colour


def test_looks_are_seen(twin):
    pictures = {}
    for seed in range(12):
        observation, _ = twin.reset(seed=seed)
        pictures[twin._simulation.layout.look.table.pattern] = observation["pixels"]["agentview"][-10:].mean((0, 1))
    assert len(pictures) > 2
    means = np.array(list(pictures.values()))
    assert np.linalg.norm(means[:, None] - means, axis=-1)[np.triu_indices(len(means), 1)].min() > 3


def test_a_state_goes_on_elsewhere_as_it_was(twin):
    other = CosmosTwin("Tabletop", split="unseen_environments")
    other.reset(seed=8, options={"instruction": "lift the green can"})
    twin.reset(seed=2, options={"instruction": "push the red block left"})
    for action in motion(3):
        twin.step(action)
    state, text = twin.save_state(), twin.task_description
    expected = [twin.step(action) for action in motion(5)]
    observation, info = other.restore_state(state)
    assert info["task"] == other.task_description == text
    for action, (wanted, reward, *_, wanted_info) in zip(motion(5), expected, strict=True):
        observation, found, *_, info = other.step(action)
        np.testing.assert_array_equal(observation["pixels"]["agentview"], wanted["pixels"]["agentview"])
        np.testing.assert_array_equal(observation["agent_pos"], wanted["agent_pos"])
        assert found == reward
        assert info["state"].keys() == wanted_info["state"].keys()
        for name, value in info["state"].items():
            np.testing.assert_array_equal(value, wanted_info["state"][name])
    other.close()


def test_what_is_not_used_stays_away(twin):
    twin.reset(seed=3)
    away = set(BODIES) - shown(twin)
    before = {body: twin._simulation.data.body(body).xpos.copy() for body in away}
    for action in motion(10):
        twin.step(action)
    for body, place in before.items():
        np.testing.assert_allclose(twin._simulation.data.body(body).xpos, place, atol=1e-6)


@pytest.mark.parametrize("verb", VERBS)
def test_the_expert_does_what_each_verb_says_and_its_actions_replayed_do_it_again(verb):
    thing, target = Thing("red", "block"), Thing("white", "tray")
    if verb == "stack":
        target = Thing("blue", "cube")
    text = VERBS[verb].format(thing=thing, target=target)
    parse_instruction(text)
    from cosmos_sim.envs.twin.replay import _simulation

    simulation, policy = _simulation("Tabletop"), scripted_policy("Tabletop")
    simulation.reset(start_of(1), instruction=text)
    policy.reset([1])
    actions, states = [], [simulation.proprioception]
    while not simulation.success:
        assert len(actions) < simulation.task.horizon
        state = {name: value[None] for name, value in simulation.truth().items()}
        actions.append(policy.act({}, {"state": state, "task": [text]})[0, 0])
        simulation.step(actions[-1].astype(np.float64))
        states.append(simulation.proprioception)
    again = replay("Tabletop", 1, np.array(actions), instruction=text)
    assert again.success
    np.testing.assert_array_equal(again.state, np.stack(states))
    assert not replay("Tabletop", 1, np.array(actions)[:3], instruction=text).success


def test_misuse_is_named(twin):
    with pytest.raises(ValueError, match="mean 'unseen_objects'"):
        CosmosTwin("Tabletop", split="unseen_object")
    with pytest.raises(ValueError, match="'Lift' is always the same task and has no split 'seen'"):
        CosmosTwin("Lift", split="seen")
    with pytest.raises(ValueError, match="unknown colour 'pink'"):
        twin.reset(options={"instruction": "lift the pink cube"})
    with pytest.raises(
        ValueError, match="'Stack' is always the same task and takes no instruction 'lift the red cube'"
    ):
        replay("Stack", 0, motion(2), instruction="lift the red cube")
    with pytest.raises(ValueError, match=r"\(t, 7\) and finite, got \(4, 6\)"):
        replay("Tabletop", 0, np.zeros((4, 6), np.float32))
