"""The environments with a world of the package's own kind, from disk."""

import pickle
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from tiny_world import tiny_world

EXACT = {"device": "cpu", "dtype": "float32"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("worlds") / "tiny"
    tiny_world().save_pretrained(path)
    return path


def test_a_world_from_disk_passes_gymnasiums_checker(folder):
    env = gymnasium.make("CosmosWorld-v0", world=folder, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    assert env.unwrapped.world.spec.task == "move the tile"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_episodes_repeat_bit_for_bit_and_actions_matter(folder, dtype):
    def play(env, sign):
        steps = [env.reset(seed=2)]
        for _ in range(3):
            steps.append(env.step(np.full(5, sign, np.float32)))
        return steps

    options = {"world": folder, "device": "cpu", "dtype": dtype, "success_frames": 99}
    make = lambda: gymnasium.make("CosmosWorld-v0", **options)  # noqa: E731
    env = make()
    first = play(env, 1)
    assert data_equivalence(first, play(env, 1), exact=True)
    assert data_equivalence(first, play(make(), 1), exact=True)
    other = play(env, -1)
    assert not np.array_equal(first[-1][0]["pixels"]["top"], other[-1][0]["pixels"]["top"])


def test_a_batch_is_the_single_worlds_up_to_rounding(folder):
    batch = gymnasium.make_vec(
        "CosmosWorld-v0", num_envs=3, vectorization_mode="vector_entry_point", world=folder, horizon=3, **EXACT
    )
    batch.reset(seed=5)
    plan = np.random.default_rng(0).uniform(-1, 1, (7, 3, 5)).astype(np.float32)
    seen = [batch.step(actions) for actions in plan]
    for i in range(3):
        single = gymnasium.make("CosmosWorld-v0", world=folder, horizon=3, **EXACT)
        single.reset(seed=5 + i)
        ended = False
        for actions, (observation, reward, terminated, truncated, _) in zip(plan, seen, strict=True):
            if ended:
                (expected, _), ended = single.reset(), False
            else:
                expected, *outcome, _ = single.step(actions[i])
                assert outcome == [reward[i], terminated[i], truncated[i]]
                ended = terminated[i] or truncated[i]
            for camera, frame in expected["pixels"].items():
                assert np.abs(observation["pixels"][camera][i].astype(int) - frame).max() <= 1
            assert observation["agent_pos"][i] == pytest.approx(expected["agent_pos"], abs=1e-4)


def test_branches_follow_the_environment(folder):
    env = gymnasium.make("CosmosWorld-v0", world=folder, **EXACT).unwrapped
    env.reset(seed=0)
    saved = env.save_state()
    plans = np.random.default_rng(1).uniform(-1, 1, (4, 3, 5)).astype(np.float32)
    prediction = env.branch(saved, plans)
    for t in range(3):
        observation = env.step(plans[2, t])[0]
        assert np.abs(prediction.frames["side"][2, t].astype(int) - observation["pixels"]["side"]).max() <= 1


def test_damaged_or_foreign_weights_are_refused_by_name(folder, tmp_path):
    for name, content in (
        ("dynamics", (folder / "dynamics.safetensors").read_bytes()[:-100]),
        ("tokenizer", pickle.dumps({"weight": [1.0]})),
    ):
        broken = tmp_path / name
        tiny_world().save_pretrained(broken)
        (broken / f"{name}.safetensors").write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}.safetensors"):
            gymnasium.make("CosmosWorld-v0", world=broken)


def test_loading_arguments_reach_the_world(folder):
    env = gymnasium.make("CosmosWorld-v0", world=folder, device="cpu", sampling_steps=3).unwrapped
    assert len(env.world.times) == len(tiny_world().times) + 2
    with pytest.raises(ValueError, match="float17"):
        gymnasium.make("CosmosWorld-v0", world=folder, dtype="float17")
