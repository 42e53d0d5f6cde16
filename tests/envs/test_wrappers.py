import warnings

import gymnasium
import numpy as np
import pytest
from blob_world import BlobWorld
from gymnasium.utils.env_checker import check_env

from cosmos_sim.envs.world import CosmosWorld
from cosmos_sim.envs.wrappers import FlatObservation


def test_the_flat_observation_holds_what_the_nested_one_did(unit_blob):
    plain, flat = CosmosWorld(unit_blob), FlatObservation(CosmosWorld(unit_blob))
    nested, info = plain.reset(seed=2)
    observation, same_info = flat.reset(seed=2)
    assert same_info == info
    for _ in range(2):
        assert list(observation) == ["top", "side", "agent_pos"]
        assert observation in flat.observation_space
        for camera in ("top", "side"):
            assert np.array_equal(observation[camera], nested["pixels"][camera])
        assert np.array_equal(observation["agent_pos"], nested["agent_pos"])
        action = np.float32([0.5, -0.25, 1])
        nested, observation = plain.step(action)[0], flat.step(action)[0]


def test_gymnasiums_checker_has_nothing_to_say_of_it(unit_blob):
    env = FlatObservation(CosmosWorld(unit_blob), size=(36, 38))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*different from the unwrapped version.*")
        warnings.filterwarnings("ignore", message=".*not having a spec.*")
        check_env(env)


def test_it_can_be_made_again_from_its_spec(unit_blob):
    env = FlatObservation(gymnasium.make("CosmosWorld-v0", world=unit_blob), size=(9, 11))
    again = gymnasium.make(env.spec)
    assert again.observation_space == env.observation_space
    assert again.observation_space["side"].shape == (9, 11, 3)


def test_halving_averages_blocks_of_four_pixels(unit_blob):
    env = FlatObservation(CosmosWorld(unit_blob), size=(20, 24))
    observation, _ = env.reset(seed=0)
    blocks = unit_blob.starts.frames["top"][0].reshape(20, 2, 24, 2, 3).mean(axis=(1, 3))
    assert observation["top"].shape == (20, 24, 3)
    assert np.abs(observation["top"] - blocks).max() <= 0.5
    assert observation["side"].shape == (20, 24, 3)


@pytest.mark.parametrize("size", [(0, 4), (4,), (4, 4.5), (4, 4, 3)])
def test_sizes_that_are_none_are_refused(unit_blob, size):
    with pytest.raises(ValueError, match="size must be"):
        FlatObservation(CosmosWorld(unit_blob), size=size)


def test_other_environments_are_refused():
    with pytest.raises(ValueError, match=r"Box\("):
        FlatObservation(gymnasium.make("Pendulum-v1"))
    with pytest.raises(ValueError, match="none of them 'agent_pos'"):
        FlatObservation(CosmosWorld(BlobWorld(cameras={"agent_pos": (8, 8)})))
