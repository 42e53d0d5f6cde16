"""A point mass on a line, seen by two cameras of unequal sizes, driven to the right end by a proportional policy."""

from contextlib import closing
from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from cosmos_sim.envs.held import HoldAtEnd
from cosmos_sim.envs.rollout import rollouts

GOAL = 1.0


class PointMass(gym.Env):
    metadata = {"render_modes": [], "render_fps": 10}  # noqa: RUF012
    observation_space = gym.spaces.Dict(
        {
            "pixels": gym.spaces.Dict(
                {
                    "front": gym.spaces.Box(0, 255, (6, 9, 3), np.uint8),
                    "side": gym.spaces.Box(0, 255, (4, 5, 3), np.uint8),
                }
            ),
            "agent_pos": gym.spaces.Box(-np.inf, np.inf, (2,), np.float32),
        }
    )
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, horizon=8):
        self.horizon = horizon
        self.ended = True

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position, self.steps, self.ended = self.np_random.uniform(-1, 0.5), 0, False
        return self._observe(), {"is_success": False}

    def step(self, action):
        if self.ended:
            raise ValueError("stepped after the end")
        self.position += 0.2 * float(action[0])
        self.steps += 1
        success, out_of_time = self.position >= GOAL, self.steps >= self.horizon
        self.ended = success or out_of_time
        info = {"is_success": success, "success_probability": float(np.clip(self.position, 0, 1))}
        return self._observe(), float(success), success, out_of_time and not success, info

    def _observe(self):
        shade = np.uint8(np.clip(120 + 50 * self.position, 0, 255))
        return {
            "pixels": {"front": np.full((6, 9, 3), shade), "side": np.full((4, 5, 3), shade // 2)},
            "agent_pos": np.array([self.position, self.steps], dtype=np.float32),
        }


class NoisyChaser:
    """Moves towards the goal with noise drawn from each episode's own seed."""

    def __init__(self, chunk=3):
        self.chunk = chunk

    def reset(self, seeds):
        self.generators = [np.random.default_rng(seed) for seed in seeds]

    def act(self, observation, info):
        noise = np.stack([g.normal(0, 0.3, size=(self.chunk, 1)) for g in self.generators])
        gap = GOAL - observation["agent_pos"][:, None, :1]
        return np.clip(gap + 0.4 + noise, -1, 1).astype(np.float32)


def held(count):
    """In processes, each holding its last transition until all are reset: what the twin runs in."""
    return closing(AsyncVectorEnv([lambda: HoldAtEnd(PointMass())] * count, autoreset_mode=AutoresetMode.DISABLED))


def autoreset(count, mode=AutoresetMode.NEXT_STEP):
    return closing(SyncVectorEnv([PointMass] * count, autoreset_mode=mode))


def alone(seed, chunk, horizon=8):
    """The loop of one environment, written plainly."""
    env, policy = PointMass(horizon), NoisyChaser(chunk)
    observation, _ = env.reset(seed=seed)
    policy.reset([seed])
    states, actions = [observation["agent_pos"]], []
    while True:
        for action in policy.act({"agent_pos": observation["agent_pos"][None]}, {})[0]:
            observation, _, terminated, truncated, info = env.step(action)
            states.append(observation["agent_pos"])
            actions.append(action)
            if terminated or truncated:
                return np.stack(states), np.stack(actions), info["is_success"]


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("chunk", [1, 4])
@pytest.mark.parametrize("vector", [held, autoreset])
def test_every_batch_size_and_mode_gives_the_plain_loop(vector, count, chunk):
    seeds = [11, 42, 70, 5, 8]
    with vector(count) as env:
        results = list(rollouts(NoisyChaser(chunk), env, seeds))
    assert [r.seed for r in results] == seeds
    assert len({len(r) for r in results}) > 1
    assert {r.success for r in results} == {True, False}
    for result in results:
        states, actions, success = alone(result.seed, chunk)
        np.testing.assert_array_equal(result.state, states)
        np.testing.assert_allclose(result.action, actions)
        assert result.success == success
        assert result.frames["front"].shape == (len(result) + 1, 6, 9, 3)
        assert result.frames["side"].shape == (len(result) + 1, 4, 5, 3)
        np.testing.assert_allclose(result.success_probability, np.clip(states[1:, 0], 0, 1), rtol=1e-6)


def test_progress_counts_only_what_was_asked_for():
    seen = []
    with autoreset(2) as env:
        results = list(rollouts(NoisyChaser(), env, [11, 3, 70], progress=seen.append))
    assert seen[-1].finished == seen[-1].episodes == 3
    assert seen[-1].steps == sum(len(r) for r in results)
    assert all(a.steps < b.steps and a.env_seconds <= b.env_seconds for a, b in pairwise(seen))


def test_an_ended_environment_is_held_until_reset():
    env = HoldAtEnd(PointMass(horizon=2))
    env.reset(seed=4)
    env.step(np.zeros(1))
    last = env.step(np.zeros(1))
    again = env.step(np.ones(1))
    assert again[1] == 0.0
    assert again[2:4] == last[2:4] == (False, True)
    np.testing.assert_array_equal(again[0]["agent_pos"], last[0]["agent_pos"])
    env.reset(seed=4)
    assert env.step(np.zeros(1))[3] is False


def test_no_seeds_no_episodes():
    with autoreset(2) as env:
        assert list(rollouts(NoisyChaser(), env, [])) == []


def test_bad_environment_and_bad_actions_are_named():
    class Flat(NoisyChaser):
        def act(self, observation, info):
            return super().act(observation, info)[:, 0]

    with autoreset(2, AutoresetMode.SAME_STEP) as env, pytest.raises(ValueError, match="SAME_STEP"):
        rollouts(NoisyChaser(), env, [1])
    with autoreset(2) as env:
        with pytest.raises(ValueError, match=r"\(2, t, 1\), got \(2, 1\)"):
            list(rollouts(Flat(), env, [1]))
        with pytest.raises(ValueError, match="at least one action"):
            list(rollouts(NoisyChaser(chunk=0), env, [1]))
