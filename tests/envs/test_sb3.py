import warnings

import gymnasium
import pytest
import torch
from blob_world import BlobWorld

from cosmos_sim.envs.wrappers import FlatObservation

sb3 = pytest.importorskip("stable_baselines3")


def make(env_id):
    if env_id == "CosmosTwin-v0":
        return FlatObservation(gymnasium.make(env_id, horizon=6))
    blob = BlobWorld(
        action_low=(-1.0,) * 3, action_high=(1.0,) * 3, cameras={"top": (40, 48), "side": (36, 44)}, horizon=6
    )
    return FlatObservation(gymnasium.make(env_id, world=blob))


@pytest.mark.parametrize("env_id", ["CosmosWorld-v0", "CosmosTwin-v0"])
def test_stable_baselines_accepts_it_and_learns_in_it(env_id):
    from stable_baselines3.common.env_checker import check_env

    torch.manual_seed(0)
    env = make(env_id)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        check_env(env)
        agent = sb3.PPO("MultiInputPolicy", env, n_steps=16, batch_size=8, n_epochs=1, seed=0, device="cpu", verbose=0)
        before = [p.clone() for p in agent.policy.parameters()]
        agent.learn(16)
    assert agent.num_timesteps == 16
    assert any(not torch.equal(p, q) for p, q in zip(before, agent.policy.parameters(), strict=True))
    assert set(agent.observation_space.spaces) > {"agent_pos"}
    observation, _ = env.reset(seed=0)
    action, _ = agent.predict(observation)
    assert action in env.action_space
    env.close()
