import numpy as np
from blob_world import BlobWorld, towards_goal

from cosmos_sim.envs.held import HeldWorlds, held_twins
from cosmos_sim.envs.rollout import rollouts
from cosmos_sim.envs.twin.env import CosmosTwin
from cosmos_sim.envs.world import CosmosWorld


class Drift:
    """Actions drawn from the episode's seed."""

    def __init__(self, low, high, chunk):
        self.low, self.high, self.chunk = np.float32(low), np.float32(high), chunk

    def reset(self, seeds):
        self.generators = [np.random.default_rng(seed) for seed in seeds]

    def act(self, observation, info):
        size = (self.chunk, len(self.low))
        return np.stack([g.uniform(self.low, self.high, size) for g in self.generators]).astype(np.float32)


class Seek:
    """Repeats the action that brings the blob nearer the goal."""

    def __init__(self, world, chunk):
        self.world, self.chunk = world, chunk

    def reset(self, seeds):
        self.count = len(seeds)

    def act(self, observation, info):
        action = 0.5 * towards_goal(observation["agent_pos"].reshape(self.count, -1), self.world)
        return np.repeat(action[:, None], self.chunk, axis=1)


def alone(env, policy, seed, options=None):
    observation, info = env.reset(seed=seed, options=options)
    policy.reset([seed])
    states, terminated, truncated = [observation["agent_pos"]], False, False
    while not (terminated or truncated):
        for action in policy.act(observation, info)[0]:
            observation, _, terminated, truncated, info = env.step(action)
            states.append(observation["agent_pos"])
            if terminated or truncated:
                break
    return np.stack(states), info["is_success"]


def test_held_worlds_give_the_episodes_of_one_world_at_a_time():
    world = BlobWorld()
    policy = Seek(world, chunk=2)
    seeds = [100, 110, 120, 130, 140]
    env = HeldWorlds(2, world)
    batch = list(rollouts(policy, env, seeds, options=lambda chosen: {"twin_seed": chosen}))
    assert len({len(r) for r in batch}) > 1
    for result in batch:
        states, success = alone(CosmosWorld(BlobWorld()), policy, result.seed, {"twin_seed": result.seed})
        np.testing.assert_allclose(result.state, states, atol=1e-6)
        assert result.success == success
        assert len(result.success_probability) == len(result)


def test_ended_worlds_are_not_imagined_any_further():
    world = BlobWorld()
    env = HeldWorlds(5, world)
    policy = Seek(world, chunk=2)
    results = list(rollouts(policy, env, list(range(5))))
    lengths = [len(r) for r in results]
    assert sum(world.batches) == sum(lengths) < 5 * max(lengths)


def test_held_twins_give_the_episodes_of_one_twin():
    policy = Drift([-0.5] * 7, [0.5] * 7, chunk=2)
    env = held_twins(2, "Lift", horizon=3)
    try:
        results = list(rollouts(policy, env, [4, 9]))
    finally:
        env.close(terminate=True)
    twin = CosmosTwin("Lift", horizon=3)
    for result in results:
        states, success = alone(twin, policy, result.seed)
        np.testing.assert_array_equal(result.state, states)
        assert result.success == success
        assert result.success_probability is None
    twin.close()
