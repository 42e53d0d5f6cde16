import numpy as np

from cosmos_sim.envs.twin.env import CosmosTwin
from cosmos_sim.envs.twin.replay import replay
from cosmos_sim.policies.scripted import scripted_policy


def test_a_replay_is_what_the_twin_does():
    twin, policy = CosmosTwin("Lift", terminate_on_success=False), scripted_policy("Lift")
    observation, info = twin.reset(seed=6)
    policy.reset([6])
    actions, states, successes = [], [observation["agent_pos"]], []
    while not any(successes):
        state = {name: value[None] for name, value in info["state"].items()}
        actions.append(policy.act({}, {"state": state})[0, 0])
        observation, *_, info = twin.step(actions[-1])
        states.append(observation["agent_pos"])
        successes.append(info["is_success"])
    twin.close()
    replayed = replay("Lift", 6, np.array(actions))
    assert replayed.success
    np.testing.assert_array_equal(replayed.state, np.stack(states))
    assert replayed.state.dtype == np.float32
    assert not replay("Lift", 6, np.array(actions)[:-1]).success
