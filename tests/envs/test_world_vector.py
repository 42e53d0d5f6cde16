import warnings

import gymnasium
import numpy as np
import pytest
from blob_world import BlobWorld, JoiningBlobWorld, towards_goal
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from cosmos_sim.envs.world import CosmosWorld
from cosmos_sim.envs.world_vector import CosmosWorldVector

MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP]


def actions_for(observation, world, wild):
    """Towards the goal for even worlds, which end early, and at random for the others."""
    actions = np.stack([towards_goal(position, world) for position in observation["agent_pos"]])
    actions[1::2] = wild.uniform(world.spec.action_low, world.spec.action_high, (len(actions[1::2]), 3))
    return actions.astype(np.float32)


def test_make_vec_gives_one_batch_that_obeys_its_spaces(blob):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make_vec(
            "CosmosWorld-v0", num_envs=3, vectorization_mode="vector_entry_point", world=blob, horizon=5
        )
    assert isinstance(env, CosmosWorldVector)
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert env.metadata["render_fps"] == 8
    observation, _ = env.reset(seed=0)
    assert observation in env.observation_space
    assert observation["pixels"]["side"].shape == (3, 16, 20, 3)
    observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
    assert observation in env.observation_space
    assert blob.batches == [3]
    assert reward.shape == terminated.shape == truncated.shape == (3,)
    assert reward.dtype == np.float64
    assert terminated.dtype == truncated.dtype == np.bool_
    env.close()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [BlobWorld, JoiningBlobWorld])
def test_it_is_gymnasiums_own_vector_of_single_worlds_in_every_value(mode, kind):
    batch = CosmosWorldVector(4, kind(), horizon=9, autoreset_mode=mode)
    single = SyncVectorEnv([lambda: CosmosWorld(BlobWorld(), horizon=9)] * 4, autoreset_mode=mode)
    assert batch.observation_space == single.observation_space
    assert batch.action_space == single.action_space
    assert batch.metadata == single.metadata
    wild = np.random.default_rng(0)
    seen = batch.reset(seed=[4, 9, 2, 9]), single.reset(seed=[4, 9, 2, 9])
    ends = 0
    for _ in range(40):
        assert data_equivalence(tidy(seen[0]), tidy(seen[1]), exact=True)
        actions = actions_for(seen[0][0], batch.world, wild)
        seen = batch.step(actions), single.step(actions)
        ends += int(seen[0][2].sum()) + int(seen[0][3].sum())
    assert ends > 8


def tidy(step):
    """A step with its infos' objects as lists, which ``data_equivalence`` compares by value."""

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(each) for key, each in sorted(value.items())}
        return [plain(each) for each in value] if getattr(value, "dtype", None) == np.dtype(object) else value

    return (*step[:-1], plain(step[-1]))


def test_worlds_that_join_stay_one_batch():
    apart, together = BlobWorld(), JoiningBlobWorld()
    for world in (apart, together):
        env = CosmosWorldVector(4, world, horizon=30)
        observation, _ = env.reset(seed=0)
        wild = np.random.default_rng(1)
        for _ in range(30):
            observation = env.step(actions_for(observation, world, wild))[0]
    assert len(together.batches) == 30 < len(apart.batches)


def test_infos_are_arrays_with_masks(blob):
    env = CosmosWorldVector(2, blob, reward_model=lambda frames, *_: np.full((len(frames["top"]), 1), 0.8))
    _, infos = env.reset(seed=[6, 2])
    assert infos["seed"].tolist() == [6, 2]
    assert infos["start_seed"].tolist() == [110, 120]
    assert infos["task"].tolist() == ["push the blob"] * 2
    assert "success_probability" not in infos
    zero = np.zeros((2, 3), np.float32)
    assert env.step(zero)[4]["success_probability"].tolist() == [0.8, 0.8]
    _, reward, terminated, _, infos = env.step(zero)
    assert infos["is_success"].tolist() == terminated.tolist() == infos["_is_success"].tolist() == [True, True]
    assert reward.tolist() == [1, 1]
    _, reward, terminated, _, infos = env.step(zero)
    assert reward.tolist() == [0, 0]
    assert not terminated.any()
    assert not infos["is_success"].any()
    assert "success_probability" not in infos


def test_a_mask_resets_some_and_leaves_the_others(blob):
    env = CosmosWorldVector(3, blob, autoreset_mode="Disabled", horizon=4)
    env.reset(seed=0)
    zero = np.zeros((3, 3), np.float32)
    before = env.step(zero)[0]
    options = {"reset_mask": np.array([False, True, False]), "start": 4}
    observation, infos = env.reset(seed=[None, 7, None], options=options)
    assert infos["_seed"].tolist() == [False, True, False]
    assert infos["seed"][1] == 7
    assert observation["agent_pos"][1].tolist() == blob.starts.state[4].tolist()
    assert np.array_equal(observation["pixels"]["top"][[0, 2]], before["pixels"]["top"][[0, 2]])
    assert "reset_mask" in options
    for _ in range(3):
        after = env.step(zero)
    assert after[3].tolist() == [True, False, True]
    alone = CosmosWorld(BlobWorld(), horizon=4)
    alone.reset(seed=7, options={"start": 4})
    for _ in range(3):
        expected = alone.step(zero[0])
    assert np.array_equal(after[0]["pixels"]["side"][1], expected[0]["pixels"]["side"])
    with pytest.raises(ResetNeeded, match=r"worlds \[0, 2\] have ended"):
        env.step(zero)
    env.reset(options={"reset_mask": np.array([True, False, True])})
    env.step(zero)


def test_each_world_may_have_its_own_start(blob):
    env = CosmosWorldVector(3, blob)
    _, infos = env.reset(seed=1, options={"twin_seed": [140, 100, 140]})
    assert infos["start_seed"].tolist() == [140, 100, 140]
    assert infos["seed"].tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match=r"'start' needs one value or 3, got 2: \[0, 1\]"):
        env.reset(options={"start": [0, 1]})


def test_save_and_restore_repeat_the_future_across_autoresets():
    env = CosmosWorldVector(3, JoiningBlobWorld(), horizon=5)
    env.reset(seed=0)
    wild = np.random.default_rng(0)
    plan = wild.uniform(-0.5, 0.5, (16, 3, 3)).astype(np.float32)
    plan[..., 2] = abs(plan[..., 2])
    for actions in plan[:4]:
        env.step(actions)
    saved = env.save_state()
    first = [env.step(actions) for actions in plan[4:]]
    env.restore_state(saved)
    assert data_equivalence([tidy(s) for s in first], [tidy(env.step(a)) for a in plan[4:]], exact=True)
    with pytest.raises(ValueError, match="of 3 worlds"):
        env.restore_state(None)


def test_render_and_call_answer_for_every_world(blob):
    env = CosmosWorldVector(2, blob, render_mode="rgb_array")
    observation, _ = env.reset(seed=0)
    pictures = env.render()
    assert [picture.shape for picture in pictures] == [(24, 52, 3)] * 2
    assert np.array_equal(pictures[1][:16, 32:], observation["pixels"]["side"][1])
    assert env.call("_max_episode_steps") == (12, 12)
    assert env.get_attr("task_description") == ("push the blob",) * 2
    assert np.array_equal(env.call("render")[0], pictures[0])
    with pytest.raises(ValueError, match="render_mode='rgb_array'"):
        CosmosWorldVector(2, blob).render()


def test_what_cannot_be_is_refused(blob):
    with pytest.raises(ValueError, match=r"num_envs .*0"):
        CosmosWorldVector(0, blob)
    with pytest.raises(ValueError, match="Sometimes"):
        CosmosWorldVector(2, blob, autoreset_mode="Sometimes")
    env = CosmosWorldVector(2, blob)
    with pytest.raises(ResetNeeded, match="no episodes yet"):
        env.step(np.zeros((2, 3)))
    with pytest.raises(ResetNeeded, match="first reset"):
        env.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(ValueError, match=r"2 worlds need as many seeds, got 3: \[1, 2, 3\]"):
        env.reset(seed=[1, 2, 3])
    env.reset(seed=0)
    for actions, message in (
        (np.zeros(3), r"shape \(2, 3\), got \(3,\)"),
        (np.array([[0, 0, 0], [0, np.nan, 0]]), "nan"),
        (np.array([[0, 0, 0], [0, 0, -1]]), r"component 2 must lie in \[0, 3\], got -1"),
    ):
        with pytest.raises(ValueError, match=message):
            env.step(actions)
    for mask in ([True, False], np.array([1, 0]), np.array([True]), np.array([False, False])):
        with pytest.raises(ValueError, match="reset_mask"):
            env.reset(options={"reset_mask": mask})
