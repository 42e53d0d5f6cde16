"""The environments with a Predict2.5 world from disk, which takes 12 actions at a time and sees frames alone."""

import json
import warnings
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from tiny_chunk_world import CAMERAS, tiny_chunk_world
from tiny_world import tiny_world

from cosmos_sim.envs.held import HeldWorlds
from cosmos_sim.envs.rollout import rollouts
from cosmos_sim.envs.worlds import load_world, read_spec
from cosmos_sim.envs.wrappers import FlatObservation

EXACT = {"device": "cpu", "dtype": "float32"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("worlds") / "big"
    tiny_chunk_world().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def world(folder):
    return load_world(folder, **EXACT)


def brightness(frames, proprioception, task):
    """A probability that every frame has: the mean of its top camera."""
    assert proprioception.shape == (*frames["top"].shape[:2], 0)
    return frames["top"].mean(axis=(2, 3, 4)) / 255


def plan(world, t, seed=0):
    spec = world.spec
    return np.random.default_rng(seed).uniform(spec.action_low, spec.action_high, (t, 3)).astype(np.float32)


def test_it_passes_gymnasiums_checker_from_its_folder(folder):
    env = gymnasium.make("CosmosWorld-v0", world=folder, reward_model=brightness, render_mode="rgb_array", device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    assert env.action_space.shape == (12, 3)
    assert env.observation_space["agent_pos"].shape == (0,)
    assert env.get_wrapper_attr("_max_episode_steps") == 2
    assert env.metadata["render_fps"] == 0.5


def test_agents_of_single_actions_find_nothing_unusual(world):
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    env = gymnasium.make("CosmosWorld-v0", world=world, reward_model=brightness, chunk=1)
    assert env.action_space.shape == (3,)
    assert env.get_wrapper_attr("_max_episode_steps") == 20
    flat = FlatObservation(env, size=(36, 36))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*symmetric and normalized.*")
        checker.check_env(flat)


class Plan:
    """The same actions in every episode, in chunks of one length."""

    def __init__(self, actions, length):
        self.actions, self.length = actions, length

    def reset(self, seeds):
        self.count, self.at = len(seeds), 0

    def act(self, observation, info):
        assert observation["agent_pos"].shape == (self.count, 0)
        self.at += self.length
        return np.repeat(self.actions[None, self.at - self.length : self.at], self.count, axis=0)


def by_hand(world, seed, actions, length):
    """Frames of a policy of chunks of ``length``: whole chunks of the world, and other ones held to their end."""
    start = world.starts.select([seed % 3])
    state, seen = world.reset(start.frames, start.state, [seed]), []
    for first in range(0, len(actions), length):
        chunk = actions[first : first + length]
        if length % 12:
            chunk = np.concatenate([chunk, np.repeat(chunk[-1:], 12 - length, axis=0)])
        state, prediction = world.step(state, chunk[None])
        kept = {camera: images[:, :length] for camera, images in prediction.frames.items()}
        if length % 12:
            frames = {camera: images[:, -1] for camera, images in kept.items()}
            state = replace(world.reset(frames, np.zeros((1, 0), np.float32), [seed]), steps=(first + length,))
        seen.append(kept)
    return {camera: np.concatenate([part[camera][0] for part in seen]) for camera in CAMERAS}


@pytest.mark.parametrize(("length", "horizon"), [(1, 3), (8, 16), (12, 20), (24, 26)])
def test_policies_of_any_chunk_run_in_it(world, length, horizon):
    actions = plan(world, 48)
    env = HeldWorlds(1, world, reward_model=brightness, horizon=horizon, success_threshold=0.99)
    (result,) = rollouts(Plan(actions, length), env, [7])
    assert len(result) == horizon
    assert np.array_equal(result.action, actions[:horizon])
    assert result.state.shape == (horizon + 1, 0)
    needed = -(-horizon // length) * length if length < 12 else -(-horizon // 12) * 12
    expected = by_hand(world, 7, actions[:needed], length)
    for camera, images in result.frames.items():
        assert np.array_equal(images[0], world.starts.frames[camera][1])
        assert np.array_equal(images[1:], expected[camera][:horizon])
    assert result.success_probability == pytest.approx(expected["top"][:horizon].mean(axis=(1, 2, 3)) / 255, abs=1e-6)


def test_the_vector_form_is_the_single_one_up_to_rounding(world):
    arguments = {"world": world, "reward_model": brightness, "success_threshold": 0.99}
    batch = gymnasium.make_vec("CosmosWorld-v0", num_envs=2, vectorization_mode="vector_entry_point", **arguments)
    assert batch.action_space.shape == (2, 12, 3)
    observation, _ = batch.reset(seed=4)
    assert observation in batch.observation_space
    actions = np.stack([[plan(world, 12, seed=2 * k + i) for i in range(2)] for k in range(2)])
    seen = [batch.step(each) for each in actions]
    assert seen[0][0] in batch.observation_space
    single = gymnasium.make("CosmosWorld-v0", **arguments)
    single.reset(seed=5)
    for k, executed in enumerate((12, 8)):
        expected, *_, truncated, info = single.step(actions[k, 1])
        assert seen[k][4]["chunk"]["executed"].tolist() == [executed] * 2
        assert info["chunk"]["executed"] == executed
        assert seen[k][3].tolist() == [truncated] * 2 == [executed == 8] * 2
        for camera in CAMERAS:
            assert np.abs(seen[k][0]["pixels"][camera][1].astype(int) - expected["pixels"][camera]).max() <= 1
            found = seen[k][4]["chunk"]["pixels"][camera][1].astype(int)
            assert np.abs(found - info["chunk"]["pixels"][camera]).max() <= 1
            assert np.array_equal(expected["pixels"][camera], info["chunk"]["pixels"][camera][executed - 1])


def test_save_and_restore_repeat_the_future_bit_for_bit_and_branches_follow_it(world):
    env = gymnasium.make("CosmosWorld-v0", world=world, reward_model=brightness, success_threshold=0.99).unwrapped
    env.reset(seed=2)
    env.play(plan(world, 5))
    saved = env.save_state()
    first = env.step(plan(world, 12, seed=1))
    env.restore_state(saved)
    assert data_equivalence(env.step(plan(world, 12, seed=1)), first, exact=True)
    prediction = env.branch(saved, plan(world, 12, seed=1)[None])
    for camera, images in prediction.frames.items():
        assert np.array_equal(images[0], first[-1]["chunk"]["pixels"][camera])


def test_the_kind_of_a_world_is_read_in_its_folder(folder, tmp_path):
    assert read_spec(folder) == tiny_chunk_world().spec
    tiny_world().save_pretrained(tmp_path / "small")
    assert read_spec(tmp_path / "small").chunk == 1
    with pytest.raises(ValueError, match="no success head: give reward_model="):
        gymnasium.make("CosmosWorld-v0", world=folder, device="cpu")
    odd = tmp_path / "odd"
    odd.mkdir()
    with pytest.raises(ValueError, match=r"holds no config\.json, so it is no world or predict-world"):
        load_world(odd)
    for kind, message in (
        ("predict_world", "kind='predict_world', .*did you mean 'predict-world'"),
        ("policy", "'policy', not a world or predict-world$"),
        (None, "kind=None"),
    ):
        config = json.loads((folder / "config.json").read_text()) | {"kind": kind}
        (odd / "config.json").write_text(json.dumps(config))
        with pytest.raises(ValueError, match=message):
            load_world(odd)
