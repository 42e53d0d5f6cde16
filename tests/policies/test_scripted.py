import numpy as np
import pytest

from cosmos_sim.envs.twin.simulation import Simulation
from cosmos_sim.envs.twin.tasks import TASKS
from cosmos_sim.policies.scripted import SKILLS, scripted_policy
from cosmos_sim.types import Policy


@pytest.fixture(scope="module")
def simulations():
    made: dict[str, Simulation] = {}

    def get(task: str) -> Simulation:
        if task not in made:
            made[task] = Simulation(TASKS[task])
        return made[task]

    return get


def told(simulation: Simulation) -> str:
    return simulation.task.description if simulation.layout is None else simulation.layout.instruction.text


def batched(*states: dict) -> dict:
    return {name: np.stack([state[name] for state in states]) for name in states[0]}


def solves(simulation: Simulation, skill: str, seed: int, steps: int) -> bool:
    policy = scripted_policy(simulation.task.name, skill)
    policy.reset([seed])
    simulation.reset(seed)
    for _ in range(steps):
        action = policy.act({}, {"state": batched(simulation.truth())})
        simulation.step(action[0, 0].astype(np.float64))
        if simulation.success:
            return True
    return False


@pytest.mark.parametrize(("task", "seeds"), [("Lift", 5), ("Stack", 2), ("PickPlaceCan", 2)])
def test_the_expert_solves_every_task_within_its_horizon(simulations, task, seeds):
    assert all(solves(simulations(task), "expert", seed, TASKS[task].horizon) for seed in range(seeds))


def test_wrong_does_not_lift(simulations):
    assert sum(solves(simulations("Lift"), "wrong", seed, 50) for seed in range(5)) <= 1


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("skill", SKILLS)
def test_actions_are_legal_and_follow_from_the_seed_alone(simulations, task, skill):
    simulation = simulations(task)
    policy = scripted_policy(task, skill)
    assert isinstance(policy, Policy)
    recorded = []
    for seed in (7, 7, 8):
        simulation.reset(0)
        policy.reset([seed])
        actions = []
        for _ in range(12):
            action = policy.act({}, {"state": batched(simulation.truth()), "task": told(simulation)})
            assert action.shape == (1, 1, 7)
            assert action.dtype == np.float32
            assert np.abs(action).max() <= 1
            simulation.step(action[0, 0].astype(np.float64))
            actions.append(action)
        recorded.append(np.concatenate(actions))
    np.testing.assert_array_equal(recorded[0], recorded[1])
    assert np.abs(recorded[0] - recorded[2]).max() > 0.01


def test_a_batch_acts_as_its_episodes_would_alone(simulations):
    simulation = simulations("Lift")
    seeds, states = (3, 4), []
    for seed in seeds:
        simulation.reset(seed)
        states.append(simulation.truth())
    together = scripted_policy("Lift", "noisy")
    together.reset(seeds)
    joint = [together.act({}, {"state": batched(*states)}) for _ in range(4)]
    assert joint[0].shape == (2, 1, 7)
    for index, seed in enumerate(seeds):
        alone = scripted_policy("Lift", "noisy")
        alone.reset([seed])
        for actions in joint:
            np.testing.assert_array_equal(alone.act({}, {"state": batched(states[index])})[0], actions[index])


def test_after_success_the_expert_moves_on(simulations):
    simulation = simulations("Lift")
    policy = scripted_policy("Lift", "expert")
    still_lifted = []
    for seed in range(6):
        simulation.reset(seed)
        policy.reset([seed])
        for _ in range(60):
            simulation.step(policy.act({}, {"state": batched(simulation.truth())})[0, 0].astype(np.float64))
        still_lifted.append(simulation.success)
    assert len(set(still_lifted)) == 2


def test_misuse_is_named():
    with pytest.raises(ValueError, match="Did you mean 'expert'"):
        scripted_policy("Lift", "expret")
    with pytest.raises(ValueError, match="Did you mean 'Stack'"):
        scripted_policy("stack")
    policy = scripted_policy("Lift")
    policy.reset([0, 1])
    with pytest.raises(ValueError, match=r"info\['state'\]"):
        policy.act({}, {})
    with pytest.raises(ValueError, match=r"b = 2.*\(3, 3\)"):
        policy.act({}, {"state": {"eef_pos": np.zeros((3, 3))}})
    told_nothing = scripted_policy("Tabletop")
    told_nothing.reset([0])
    with pytest.raises(ValueError, match=r"info\['task'\]"):
        told_nothing.act({}, {"state": {"eef_pos": np.zeros((1, 3))}})
    with pytest.raises(ValueError, match=r"\(3,\)"):
        policy.act({}, {"state": {"eef_pos": np.zeros(3)}})
