"""Chunks of actions: a world that takes three at a time is the one that takes them singly, which is known exactly."""

from dataclasses import replace

import numpy as np
import pytest
from blob_world import GOAL, BlobWorld, ChunkBlobWorld, towards_goal
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from cosmos_sim.envs.held import HeldWorlds
from cosmos_sim.envs.rollout import rollouts
from cosmos_sim.envs.world import CosmosWorld
from cosmos_sim.envs.world_vector import CosmosWorldVector

ONE = np.float32([0.5, -0.25, 1.0])


def plan(t, seed=0):
    world = BlobWorld()
    return np.random.default_rng(seed).uniform(world.spec.action_low, world.spec.action_high, (t, 3)).astype(np.float32)


def singly(actions, *, seed=3, noise=0.02, **arguments):
    """The steps of a world that takes one action at a time, until the episode ends."""
    env = CosmosWorld(BlobWorld(noise=noise), **arguments)
    env.reset(seed=seed)
    steps = []
    for action in actions:
        steps.append(env.step(action))
        if steps[-1][2] or steps[-1][3]:
            break
    return steps


def judge(values):
    """A reward model that gives the listed probabilities one after the other."""
    left = iter(values)
    return lambda frames, proprioception, task: np.array([[next(left) for _ in range(proprioception.shape[1])]])


def test_a_step_is_a_chunk_and_shows_each_of_its_frames():
    env = CosmosWorld(ChunkBlobWorld(3))
    assert env.action_space.shape == (3, 3)
    assert env.action_space.low.tolist() == [[-2, -0.5, 0]] * 3
    assert env._max_episode_steps == 4
    assert env.metadata["render_fps"] == pytest.approx(8 / 3)
    actions = plan(6)
    expected = singly(actions)
    _, info = env.reset(seed=3)
    assert "chunk" not in info
    for first in (0, 3):
        observation, _, _, _, info = env.step(actions[first : first + 3])
        chunk = info["chunk"]
        assert chunk["executed"] == 3
        for k in range(3):
            seen, *_, told = expected[first + k]
            assert np.array_equal(chunk["pixels"]["top"][k], seen["pixels"]["top"])
            assert np.array_equal(chunk["pixels"]["side"][k], seen["pixels"]["side"])
            assert np.array_equal(chunk["agent_pos"][k], seen["agent_pos"])
            assert chunk["success_probability"][k] == told["success_probability"]
        assert data_equivalence(observation, expected[first + 2][0], exact=True)
        assert info["success_probability"] == chunk["success_probability"][-1]


@pytest.mark.parametrize("horizon", [4, 5, 6])
def test_an_episode_is_cut_at_its_horizon_within_a_chunk(horizon):
    env = CosmosWorld(ChunkBlobWorld(3), horizon=horizon)
    assert env._max_episode_steps == 2
    env.reset(seed=3)
    actions = plan(6)
    assert not env.step(actions[:3])[3]
    observation, _, terminated, truncated, info = env.step(actions[3:])
    assert (terminated, truncated) == (False, True)
    assert info["chunk"]["executed"] == horizon - 3
    assert data_equivalence(observation, singly(actions, horizon=horizon)[-1][0], exact=True)


def test_success_is_judged_frame_by_frame_across_chunks_and_never_after_the_end():
    probabilities = [0.9, 0.1, 0.9, 0.9, 0.1, 0.1]
    env = CosmosWorld(ChunkBlobWorld(3), reward_model=judge(probabilities))
    env.reset(seed=3)
    actions = plan(6)
    assert env.step(actions[:3])[1:4] == (0.0, False, False)
    observation, *outcome, info = env.step(actions[3:])
    assert outcome == [1.0, True, False]
    assert info["chunk"]["executed"] == 1
    assert info["success_probability"] == 0.9
    assert data_equivalence(observation, singly(actions[:4])[-1][0], exact=True)
    late = CosmosWorld(ChunkBlobWorld(3), reward_model=judge([0, 0, 0, 0, 0.9, 0.9]), horizon=5)
    late.reset(seed=3)
    late.step(actions[:3])
    assert late.step(actions[3:])[1:4] == (0.0, False, True)


@pytest.mark.parametrize("chunk", [1, 2, 4, 6, 7])
def test_steps_of_any_length_lead_where_single_actions_do(chunk):
    world = ChunkBlobWorld(3, noise=0.0)
    env = CosmosWorld(world, chunk=chunk, success_threshold=0.99)
    actions = plan(12)
    expected = singly(actions, noise=0.0, success_threshold=0.99)
    assert len(expected) == 12
    env.reset(seed=3)
    for first in range(0, 12, chunk):
        step = actions[first : first + chunk]
        step = np.concatenate([step, np.repeat(ONE[None], chunk - len(step), axis=0)])
        observation, *_, truncated, info = env.step(step[0] if chunk == 1 else step)
        last = min(first + chunk, 12)
        for camera, images in observation["pixels"].items():
            assert np.abs(images.astype(int) - expected[last - 1][0]["pixels"][camera]).max() <= 1
        assert observation["agent_pos"] == pytest.approx(expected[last - 1][0]["agent_pos"], abs=1e-6)
        assert truncated == (last == 12)
        assert ("chunk" in info) == (chunk > 1)
    assert sum(world.calls) == -(-12 // chunk) * (-(-chunk // 3) * 3)


def test_chunks_that_are_cut_draw_new_noise_each_time_and_the_same_in_each_run():
    def walk():
        env = CosmosWorld(ChunkBlobWorld(3), chunk=2, success_threshold=0.99)
        seen = [env.reset(seed=3)[0]["agent_pos"]]
        still = np.float32([[0, 0, 0]] * 2)
        return np.stack([*seen, *(env.step(still)[0]["agent_pos"] for _ in range(4))])

    first = walk()
    moves = np.diff(first[:, :2], axis=0)
    assert np.array_equal(first, walk())
    assert len(np.unique(moves.round(7), axis=0)) == 4
    assert np.abs(moves).max() < 0.2


def test_small_worlds_take_chunks_too(blob):
    env = CosmosWorld(blob, chunk=4)
    env.reset(seed=3)
    actions = plan(4)
    assert data_equivalence(env.step(actions)[0], singly(actions)[-1][0], exact=True)
    assert blob.batches == [1]


@pytest.mark.parametrize("chunk", [3, 2])
def test_save_restore_and_branch_follow_chunks(chunk):
    env = CosmosWorld(ChunkBlobWorld(3), chunk=chunk, horizon=30)
    env.reset(seed=3)
    env.step(plan(chunk))
    saved = env.save_state()
    ahead = [env.step(plan(chunk, seed=k)) for k in (1, 2)]
    again = env.restore_state(saved)
    assert data_equivalence(again[1]["chunk"], env.restore_state(saved)[1]["chunk"], exact=True)
    plans = np.stack([np.concatenate([plan(chunk, seed=k) for k in (1, 2)]), plan(2 * chunk, seed=5)])
    prediction = env.branch(saved, plans)
    assert prediction.frames["side"].shape == (2, 2 * chunk, 16, 20, 3)
    for k, (_, _, _, _, info) in enumerate(ahead):
        part = slice(k * chunk, (k + 1) * chunk)
        assert np.array_equal(prediction.frames["top"][0, part], info["chunk"]["pixels"]["top"])
        assert prediction.success[0, part] == pytest.approx(info["chunk"]["success_probability"])
    assert data_equivalence(env.step(plan(chunk, seed=1)), ahead[0], exact=True)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_the_vector_form_is_gymnasiums_own_of_single_ones(mode):
    world = ChunkBlobWorld(3)
    batch = CosmosWorldVector(3, world, horizon=8, autoreset_mode=mode)
    single = SyncVectorEnv([lambda: CosmosWorld(ChunkBlobWorld(3), horizon=8)] * 3, autoreset_mode=mode)
    assert batch.single_action_space.shape == (3, 3)
    assert batch.action_space == single.action_space
    assert batch.metadata == single.metadata
    seen = batch.reset(seed=[4, 9, 2]), single.reset(seed=[4, 9, 2])
    for k in range(8):
        assert data_equivalence(plain(seen[0]), plain(seen[1]), exact=True)
        actions = np.stack([plan(3, seed=9 * k + i) for i in range(3)])
        actions[0] = towards_goal(seen[0][0]["agent_pos"][0], world) / 2
        seen = batch.step(actions), single.step(actions)


def plain(step):
    """A step with its infos in one order, and their objects as lists, which ``data_equivalence`` compares by value."""

    def tidy(value):
        if isinstance(value, dict):
            return {key: tidy(each) for key, each in sorted(value.items())}
        if getattr(value, "dtype", None) == np.dtype(object):
            return [tidy(each) for each in value]
        return value

    return (*step[:-1], tidy(step[-1]))


class Chunks:
    """Random actions in chunks of one length, from the episode's seed."""

    def __init__(self, length):
        self.length = length

    def reset(self, seeds):
        self.generators = [np.random.default_rng(seed) for seed in seeds]

    def act(self, observation, info):
        assert len(observation["agent_pos"]) == len(self.generators)
        spec = BlobWorld().spec
        size = (self.length, 3)
        return np.stack([g.uniform(spec.action_low, spec.action_high, size) for g in self.generators])


@pytest.mark.parametrize(("length", "calls"), [(1, 10), (2, 5), (3, 4), (5, 4), (12, 4)])
def test_policies_with_chunks_of_their_own_run_in_a_world_of_chunks(length, calls):
    world = ChunkBlobWorld(3, noise=0.0)
    env = HeldWorlds(2, world, horizon=10, success_threshold=0.99)
    seen = []
    results = list(rollouts(Chunks(length), env, [5, 6, 7], progress=seen.append))
    assert len(world.calls) == 2 * calls
    assert seen[-1].steps == sum(len(result) for result in results) == 30
    for result in results:
        policy = Chunks(length)
        policy.reset([result.seed])
        actions = np.concatenate([policy.act({"agent_pos": [0]}, {})[0] for _ in range(10)])[:10].astype(np.float32)
        expected = singly(actions, seed=result.seed, noise=0.0, horizon=10, success_threshold=0.99)
        assert np.array_equal(result.action, actions)
        assert result.state[1:] == pytest.approx(np.stack([step[0]["agent_pos"] for step in expected]), abs=1e-5)
        assert result.frames["side"].shape == (11, 16, 20, 3)
        told = [step[-1]["success_probability"] for step in expected]
        assert result.success_probability == pytest.approx(told, abs=1e-4)


def test_a_rollout_ends_within_a_chunk():
    class Seek(Chunks):
        def act(self, observation, info):
            spec, gap = BlobWorld().spec, GOAL - observation["agent_pos"]
            return np.repeat(np.clip(10 / 3 * gap, spec.action_low, spec.action_high)[:, None], 3, axis=1)

    results = list(rollouts(Seek(3), HeldWorlds(5, ChunkBlobWorld(3), horizon=20), [0, 1, 2, 3, 4]))
    solved = [result for result in results if result.success]
    assert 0 < len(solved) < len(results)
    assert {len(result) % 3 for result in solved} != {0}
    for result in results:
        above = result.success_probability > 0.5
        twice = above[1:] & above[:-1]
        assert twice.tolist() == [False] * (len(result) - 2) + [result.success]
        assert len(result.frames["top"]) == len(result.state) == len(result) + 1


def test_starts_with_a_state_serve_worlds_without_proprioception(blob):
    class Blind(BlobWorld):
        def reset(self, frames, state, seeds):
            assert state.shape == (len(seeds), 0)
            return super().reset(frames, np.zeros((len(seeds), 3)), seeds)

        def step(self, state, actions):
            state, prediction = super().step(state, actions)
            return state, replace(prediction, proprioception=prediction.proprioception[..., :0])

    env = CosmosWorld(Blind(starts=None, state_low=(), state_high=()), starts=blob.starts)
    observation, _ = env.reset(seed=1)
    assert observation["agent_pos"].shape == (0,)
    assert observation in env.observation_space
    assert env.step(ONE)[0] in env.observation_space


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda env: env.step(ONE), r"shape \(3, 3\), got \(3,\)"),
        (lambda env: env.step(np.zeros((2, 3))), r"shape \(3, 3\), got \(2, 3\)"),
        (lambda env: env.step(np.full((3, 3), [0, 0, 4])), r"component 2 must lie in \[0, 3\], got 4"),
        (lambda env: env.play(np.zeros((0, 3))), r"\(t, 3\) with t >= 1, got \(0, 3\)"),
        (lambda env: env.play(ONE), r"\(t, 3\) with t >= 1, got \(3,\)"),
        (lambda env: CosmosWorld(BlobWorld(), chunk=0), "chunk must be .* got 0"),
        (lambda env: CosmosWorld(BlobWorld(), chunk=1.5), "got 1.5"),
    ],
)
def test_bad_chunks_are_refused(call, message):
    env = CosmosWorld(ChunkBlobWorld(3))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        call(env)
