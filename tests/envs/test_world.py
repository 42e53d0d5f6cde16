import warnings
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from blob_world import GOAL, BlobWorld, towards_goal
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env, data_equivalence

import cosmos_sim
from cosmos_sim.envs.world import CosmosWorld


def play(env, actions, seed=3, **options):
    observation, info = env.reset(seed=seed, options=options)
    trace = [(observation, info)]
    for action in actions:
        step = env.step(action)
        trace.append(step)
        if step[2] or step[3]:
            break
    return trace


def random_actions(env, n, seed=0):
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(n)]


def test_gymnasium_finds_it_and_its_checker_has_nothing_to_say(unit_blob):
    assert cosmos_sim.__version__
    env = gymnasium.make("CosmosWorld-v0", world=unit_blob, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    assert env.get_wrapper_attr("_max_episode_steps") == 12
    assert env.unwrapped.task == env.unwrapped.task_description == "push the blob"
    assert env.metadata["render_fps"] == 8
    assert CosmosWorld.metadata["render_fps"] == 10


def test_spaces_come_from_the_spec(blob):
    env = CosmosWorld(blob)
    assert env.observation_space["pixels"]["top"].shape == (24, 32, 3)
    assert env.observation_space["pixels"]["side"].shape == (16, 20, 3)
    assert env.observation_space["agent_pos"].high.tolist() == [1, 1, 1]
    assert env.action_space.low.tolist() == [-2, -0.5, 0]
    assert env.action_space.high.tolist() == [1, 0.5, 3]
    observation, _ = env.reset(seed=0)
    assert observation in env.observation_space
    assert env.step(env.action_space.sample())[0] in env.observation_space


def test_an_episode_repeats_bit_for_bit_and_another_seed_differs(blob):
    env = CosmosWorld(blob)
    actions = random_actions(env, 6)
    first, second = play(env, actions), play(CosmosWorld(BlobWorld()), actions)
    assert data_equivalence(first, second, exact=True)
    other = play(env, actions, seed=3 + len(blob.starts))
    assert data_equivalence(first[0][0], other[0][0], exact=True)
    assert not np.array_equal(first[1][0]["agent_pos"], other[1][0]["agent_pos"])


def test_the_frames_are_those_of_the_world_and_the_state_is_clipped_to_its_space(blob):
    env = CosmosWorld(blob, horizon=40)
    env.reset(seed=1)
    state = blob.reset(blob.starts.select([1]).frames, blob.starts.state[1:2], [1])
    for _ in range(15):
        action = np.array([1.0, 0.5, 0.0], np.float32)
        observation, _, _, _, info = env.step(action)
        state, prediction = blob.step(state, action[None, None])
        assert np.array_equal(observation["pixels"]["side"], prediction.frames["side"][0, 0])
        assert info["success_probability"] == float(prediction.success[0, 0])
    assert prediction.proprioception[0, 0, 0] > 1
    assert observation["agent_pos"][0] == 1


def test_what_was_returned_is_the_users_to_change(blob):
    env = CosmosWorld(blob)
    actions = random_actions(env, 2)
    whole = play(env, actions)
    observation, _ = env.reset(seed=3)
    observation["pixels"]["top"][:] = 0
    observation["agent_pos"][:] = 0
    assert data_equivalence(env.step(actions[0]), whole[1], exact=True)
    assert blob.starts.frames["top"].any()


def test_success_needs_consecutive_frames_and_ends_the_episode(blob):
    for frames in (1, 2, 3):
        env = CosmosWorld(blob, horizon=100, success_frames=frames)
        observation, info = env.reset(seed=0)
        assert info["is_success"] is False
        assert "success_probability" not in info
        above, terminated = 0, False
        while not terminated:
            observation, reward, terminated, truncated, info = env.step(towards_goal(observation["agent_pos"], blob))
            above = above + 1 if info["success_probability"] > 0.5 else 0
            assert terminated is info["is_success"] is (above >= frames)
            assert reward == float(terminated)
            assert truncated is False
        assert np.linalg.norm(observation["agent_pos"] - GOAL) < 0.3


def test_a_flicker_above_the_threshold_is_no_success(blob):
    calls = iter([0.9, 0.1, 0.9, 0.1, 0.9, 0.9])
    env = CosmosWorld(blob, reward_model=lambda frames, proprioception, task: np.full((1, 1), next(calls)))
    assert [step[2] for step in play(env, random_actions(env, 6))[1:]] == [False] * 5 + [True]


def test_the_threshold_is_the_one_asked_for(blob):
    env = CosmosWorld(blob, reward_model=lambda *_: np.full((1, 1), 0.6), success_threshold=0.7)
    assert not any(step[2] for step in play(env, random_actions(env, 12))[1:])
    env = CosmosWorld(blob, reward_model=lambda *_: np.full((1, 1), 0.8), success_threshold=0.7)
    assert [step[2] for step in play(env, random_actions(env, 12))[1:]] == [False, True]


def test_truncation_comes_at_the_horizon_alone(blob):
    for env, horizon in ((CosmosWorld(blob), 12), (CosmosWorld(blob, horizon=4), 4)):
        steps = play(env, [np.zeros(3, np.float32)] * 20)[1:]
        assert [step[3] for step in steps] == [False] * (horizon - 1) + [True]
        assert not steps[-1][2]


def test_a_reward_model_judges_the_frames_and_is_told_the_task(blob):
    seen = []

    def reward_model(frames, proprioception, task):
        seen.append((frames["top"].shape, frames["side"].shape, proprioception.shape, task))
        return frames["top"][..., 0].mean(axis=(2, 3)) / 255

    env = CosmosWorld(BlobWorld(has_success=False), reward_model=reward_model)
    observation, _, _, _, info = play(env, random_actions(env, 1))[1]
    assert seen == [((1, 1, 24, 32, 3), (1, 1, 16, 20, 3), (1, 1, 3), "push the blob")]
    assert info["success_probability"] == pytest.approx(observation["pixels"]["top"][..., 0].mean() / 255)


def test_a_world_without_success_needs_a_reward_model():
    with pytest.raises(ValueError, match="no success head: give reward_model="):
        CosmosWorld(BlobWorld(has_success=False))


@pytest.mark.parametrize(("value", "message"), [(1.5, "1.5"), (np.nan, "nan"), (-0.1, "-0.1")])
def test_a_reward_model_that_gives_no_probability_is_refused(blob, value, message):
    env = CosmosWorld(blob, reward_model=lambda *_: np.full((1, 1), value))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=f"probabilities in .*{message}"):
        env.step(env.action_space.sample())
    env = CosmosWorld(blob, reward_model=lambda *_: np.zeros(3))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"\(1, 1\), got shape \(3,\)"):
        env.step(env.action_space.sample())


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros(4), r"shape \(3,\), got \(4,\)"),
        (np.zeros((1, 3)), r"got \(1, 3\)"),
        ([0, np.nan, 0], "nan"),
        ([0, np.inf, 0], "inf"),
        ([0, 0, 3.1], r"component 2 must lie in \[0, 3\], got 3.1"),
        ([-2.001, 0, 0], r"component 0 .*got -2.001"),
        ("left", "'left'"),
        (None, "None|nan|shape"),
    ],
)
def test_bad_actions_are_refused_and_leave_the_episode_as_it_was(blob, action, message):
    env = CosmosWorld(blob)
    good = random_actions(env, 1)[0]
    expected = play(env, [good])[1]
    env.reset(seed=3)
    with pytest.raises(ValueError, match=message):
        env.step(action)
    assert data_equivalence(env.step(good), expected, exact=True)


def test_rounding_at_the_bounds_is_forgiven(blob):
    env = CosmosWorld(blob)
    exact = play(env, [np.float32([1, 0.5, 3])])[1]
    assert data_equivalence(play(env, [np.float32([1 + 1e-6, 0.5, 3])])[1], exact, exact=True)


def test_steps_outside_an_episode_are_refused(blob):
    env = CosmosWorld(blob, horizon=2)
    action = np.zeros(3, np.float32)
    with pytest.raises(ResetNeeded, match="no episode yet"):
        env.step(action)
    play(env, [action, action])
    with pytest.raises(ResetNeeded, match="ended after 2 actions"):
        env.step(action)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"horizon": 0}, "horizon .*0"),
        ({"horizon": 2.5}, "2.5"),
        ({"success_threshold": 1.0}, "success_threshold .*1.0"),
        ({"success_frames": 0}, "success_frames .*0"),
        ({"render_mode": "ansi"}, "'ansi'"),
        ({"reward_model": 0.5}, "reward_model .*0.5"),
        ({"device": "cpu"}, "device='cpu' would be ignored"),
        ({"sampling_steps": 2, "dtype": "float32"}, "dtype='float32', sampling_steps=2 would be ignored"),
        ({"starts": "wrold"}, "'wrold'"),
    ],
)
def test_bad_arguments_are_refused_with_the_value(blob, arguments, message):
    with pytest.raises(ValueError, match=message):
        CosmosWorld(blob, **arguments)


def test_unknown_arguments_and_worlds_are_refused(blob):
    with pytest.raises(TypeError, match="horizn"):
        CosmosWorld(blob, horizn=3)
    with pytest.raises(ValueError, match=r"world must be .*got 7"):
        CosmosWorld(7)
    with pytest.raises(ValueError, match="nowhere"):
        CosmosWorld("nowhere")


def test_save_and_restore_repeat_the_future_any_number_of_times(blob):
    env = CosmosWorld(blob)
    actions = random_actions(env, 8)
    play(env, actions[:3])
    saved = env.save_state()
    seen = env.step(actions[3]), env.step(actions[4]), env.reset(), env.step(actions[5])
    for _ in range(2):
        observation, info = env.restore_state(saved)
        assert observation["agent_pos"].tolist() != seen[0][0]["agent_pos"].tolist()
        assert info["seed"] == 3
        again = env.step(actions[3]), env.step(actions[4]), env.reset(), env.step(actions[5])
        assert data_equivalence(seen, again, exact=True)


def test_a_streak_is_part_of_the_state(blob):
    env = CosmosWorld(blob, reward_model=lambda *_: np.ones((1, 1)))
    action = np.zeros(3, np.float32)
    play(env, [action])
    saved = env.save_state()
    assert env.step(action)[2]
    env.restore_state(saved)
    assert env.step(action)[2]


def test_branches_are_what_stepping_gives_and_disturb_nothing(blob):
    env = CosmosWorld(blob)
    env.action_space.seed(1)
    play(env, random_actions(env, 2))
    saved = env.save_state()
    plans = np.stack([[env.action_space.sample() for _ in range(4)] for _ in range(3)])
    blob.batches.clear()
    prediction = env.branch(saved, plans)
    assert blob.batches == [3]
    assert prediction.frames["top"].shape == (3, 4, 24, 32, 3)
    for k in range(3):
        env.restore_state(saved)
        for t in range(4):
            observation, _, _, _, info = env.step(plans[k, t])
            assert np.array_equal(prediction.frames["side"][k, t], observation["pixels"]["side"])
            assert np.array_equal(prediction.proprioception[k, t].clip(*env_bounds(env)), observation["agent_pos"])
            assert prediction.success[k, t] == np.float32(info["success_probability"])


def env_bounds(env):
    return env.observation_space["agent_pos"].low, env.observation_space["agent_pos"].high


def test_branches_are_judged_by_the_reward_model(blob):
    env = CosmosWorld(blob, reward_model=lambda frames, proprioception, task: proprioception[..., 2].clip(0, 1))
    env.reset(seed=0)
    prediction = env.branch(env.save_state(), np.zeros((2, 3, 3), np.float32))
    assert prediction.success == pytest.approx(prediction.proprioception[..., 2].clip(0, 1))


@pytest.mark.parametrize("plans", [np.zeros((2, 3)), np.zeros((2, 3, 4)), np.zeros((0, 2, 3)), np.full((1, 1, 3), 9)])
def test_bad_plans_are_refused(blob, plans):
    env = CosmosWorld(blob)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"shape|component 0.*got 9"):
        env.branch(env.save_state(), plans)


def test_only_its_own_states_are_restored(blob):
    env = CosmosWorld(blob)
    env.reset(seed=0)
    for use in (env.restore_state, lambda state: env.branch(state, np.zeros((1, 1, 3)))):
        with pytest.raises(ValueError, match="save_state returned, got dict"):
            use({})


def test_render_puts_the_cameras_side_by_side(blob):
    env = CosmosWorld(blob, render_mode="rgb_array")
    with pytest.raises(ResetNeeded):
        env.render()
    observation, _ = env.reset(seed=0)
    picture = env.render()
    assert picture.shape == (24, 32 + 20, 3)
    assert np.array_equal(picture[:, :32], observation["pixels"]["top"])
    assert np.array_equal(picture[:16, 32:], observation["pixels"]["side"])
    assert not picture[16:, 32:].any()


def test_any_backend_of_the_protocol_will_do_but_nothing_else(blob):
    env = CosmosWorld(BlobWorld(cameras={"only": (12, 12)}, fps=12.5), starts=replace(blob.starts, frames=only(blob)))
    assert list(env.reset(seed=0)[0]["pixels"]) == ["only"]
    assert env.metadata["render_fps"] == 12.5


def only(blob):
    return {"only": blob.starts.frames["top"][:, :12, :12].copy(), "more": blob.starts.frames["side"]}
