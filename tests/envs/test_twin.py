import hashlib
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

import cosmos_sim  # noqa: F401
from cosmos_sim.envs.twin.env import CosmosTwin

TASK_NAMES = ("Lift", "Stack", "PickPlaceCan", "Tabletop")


@pytest.fixture(scope="module")
def lift():
    env = CosmosTwin("Lift", render_mode="rgb_array")
    yield env
    env.close()


def actions(count: int, seed: int = 0) -> np.ndarray:
    """Motion that reaches the table, opens and closes, and turns the hand."""
    generator = np.random.default_rng(seed)
    motion = generator.uniform(-1, 1, (count, 7)).astype(np.float32)
    motion[:, 2] = -np.abs(motion[:, 2])
    return motion


def play(env, seed: int, motion: np.ndarray, meanwhile=lambda action: None) -> list:
    observation, info = env.reset(seed=seed)
    trace = [observation["pixels"]["agentview"], observation["pixels"]["wrist"], observation["agent_pos"]]
    trace += info["state"].values()
    for action in motion:
        meanwhile(action)
        observation, reward, terminated, truncated, info = env.step(action)
        trace += [observation["pixels"]["agentview"], observation["pixels"]["wrist"], observation["agent_pos"]]
        trace += [reward, terminated, truncated, *info["state"].values()]
    return trace


def digest(trace: list) -> str:
    return hashlib.sha256(b"".join(np.asarray(item).tobytes() for item in trace)).hexdigest()


def assert_same(first: list, second: list) -> None:
    assert len(first) == len(second)
    for left, right in zip(first, second, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("task", TASK_NAMES)
@pytest.mark.filterwarnings("error")
def test_environment_checker_passes_without_warnings(task):
    env = gymnasium.make("CosmosTwin-v0", task=task, render_mode="rgb_array")
    check_env(env.unwrapped)
    assert env.unwrapped.task == task
    assert env.unwrapped._max_episode_steps > 0
    assert env.metadata["render_fps"] == 10
    env.close()


@pytest.mark.parametrize("task", TASK_NAMES)
def test_a_seed_decides_the_episode_whatever_came_before(task):
    motion = actions(6)
    fresh = CosmosTwin(task)
    expected = play(fresh, 11, motion)
    fresh.close()
    used = CosmosTwin(task)
    play(used, 5, actions(9, seed=1))
    assert_same(play(used, 11, motion), expected)
    used.close()


def test_another_process_gives_the_same_bits(lift):
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_twin as t; env = t.CosmosTwin('Lift');"
        "print(t.digest(t.play(env, 17, t.actions(3)))); env.close()"
    )
    command = [sys.executable, "-c", program, str(Path(__file__).parent)]
    other = subprocess.run(command, capture_output=True, text=True, check=True)
    assert other.stdout.split()[-1] == digest(play(lift, 17, actions(3)))


def test_two_twins_do_not_disturb_each_other(lift):
    motion = actions(4)
    expected = play(lift, 3, motion)
    other = CosmosTwin("PickPlaceCan")
    other.reset(seed=0)
    assert_same(play(lift, 3, motion, meanwhile=lambda action: other.step(-action)), expected)
    other.close()
    assert_same(play(lift, 3, motion), expected)


def test_resets_without_a_seed_follow_the_generator(lift):
    def cubes():
        lift.reset(seed=4)
        return [lift.reset()[1]["state"]["cube_pos"] for _ in range(2)]

    first, second = cubes(), cubes()
    assert_same(first, second)
    assert not np.array_equal(first[0], first[1])


def test_numpy_global_generator_is_left_alone(lift):
    np.random.seed(0)
    expected = np.random.random(3)
    np.random.seed(0)
    lift.reset(seed=9)
    CosmosTwin("Lift").close()
    np.testing.assert_array_equal(np.random.random(3), expected)


def test_a_restored_state_goes_on_as_before(lift):
    motion = actions(7)
    play(lift, 21, motion[:3])
    state = lift.save_state()
    expected = [lift.step(action) for action in motion[3:]]
    other = CosmosTwin("Lift")
    other.reset(seed=99)
    for action in motion[:5]:
        other.step(-action)
    for env in (lift, other):
        observation, info = env.restore_state(state)
        assert env.observation_space.contains(observation)
        assert not info["is_success"]
        for action, (wanted, *_, wanted_info) in zip(motion[3:], expected, strict=True):
            observation, *_, info = env.step(action)
            np.testing.assert_array_equal(observation["agent_pos"], wanted["agent_pos"])
            np.testing.assert_array_equal(observation["pixels"]["wrist"], wanted["pixels"]["wrist"])
            np.testing.assert_array_equal(info["state"]["cube_pos"], wanted_info["state"]["cube_pos"])
    other.close()


def test_restoring_shows_what_was_seen_when_saving(lift):
    lift.reset(seed=2)
    for action in actions(4):
        observation, *_ = lift.step(action)
    state = lift.save_state()
    lift.reset(seed=8)
    restored, _ = lift.restore_state(state)
    np.testing.assert_array_equal(restored["pixels"]["agentview"], observation["pixels"]["agentview"])
    np.testing.assert_array_equal(restored["agent_pos"], observation["agent_pos"])


def test_a_state_of_another_task_is_refused(lift):
    other = CosmosTwin("Stack")
    other.reset(seed=0)
    lift.reset(seed=0)
    with pytest.raises(ValueError, match="'Stack'"):
        lift.restore_state(other.save_state())
    other.close()


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros(6, np.float32), r"\(7,\).*\(6,\)"),
        (np.zeros((1, 7), np.float32), r"\(1, 7\)"),
        (np.array([0, 0, np.nan, 0, 0, 0, 0], np.float32), "nan"),
        (np.array([0, 0, 0, 0, 0, 0, 1.5], np.float32), r"1\.5"),
        (np.array([-np.inf, 0, 0, 0, 0, 0, 0], np.float32), "inf"),
    ],
)
def test_invalid_actions_are_named(lift, action, message):
    lift.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        lift.step(action)


def test_horizon_truncates_and_further_steps_are_refused():
    env = CosmosTwin("Lift", horizon=2)
    with pytest.raises(ResetNeeded):
        env.step(np.zeros(7, np.float32))
    env.reset(seed=0)
    assert env.step(np.zeros(7, np.float32))[2:4] == (False, False)
    assert env.step(np.zeros(7, np.float32))[2:4] == (False, True)
    with pytest.raises(ResetNeeded, match="2 steps"):
        env.step(np.zeros(7, np.float32))
    env.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "lift"}, "Did you mean 'Lift'"),
        ({"horizon": 0}, "not 0"),
        ({"horizon": 2.5}, r"2\.5"),
        ({"render_mode": "human"}, "'human'"),
    ],
)
def test_invalid_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        CosmosTwin(**arguments)


def test_reset_options_are_refused(lift):
    with pytest.raises(ValueError, match="colour"):
        lift.reset(seed=0, options={"colour": "red"})


def test_render_shows_both_cameras(lift):
    observation, _ = lift.reset(seed=0)
    np.testing.assert_array_equal(lift.render()[:, :128], observation["pixels"]["agentview"])
    np.testing.assert_array_equal(lift.render()[:, 128:], observation["pixels"]["wrist"])


def test_agent_pos_is_the_true_state_in_its_documented_units(lift):
    from scipy.spatial.transform import Rotation

    lift.reset(seed=6)
    for action in actions(5):
        observation, *_, info = lift.step(action)
        state, pose = info["state"], observation["agent_pos"]
        assert lift.observation_space.contains(observation)
        np.testing.assert_allclose(pose[:3], state["eef_pos"], atol=1e-6)
        difference = Rotation.from_rotvec(pose[3:6]).inv() * Rotation.from_quat(state["eef_quat"])
        assert difference.magnitude() < 1e-5
        assert pose[3] >= 0
        np.testing.assert_allclose(pose[6], state["gripper"][0], atol=1e-6)


@pytest.mark.parametrize(("index", "axis"), [(0, 0), (1, 1), (2, 2)])
def test_actions_move_the_hand_along_the_world_axes(lift, index, axis):
    _, info = lift.reset(seed=0)
    before = info["state"]["eef_pos"]
    for _ in range(4):
        action = np.zeros(7, np.float32)
        action[index] = 1.0
        *_, info = lift.step(action)
    moved = info["state"]["eef_pos"] - before
    assert 0.03 < moved[axis] < 0.2
    assert np.abs(np.delete(moved, axis)).max() < 0.02
