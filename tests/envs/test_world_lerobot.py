"""The environments and the reward model as LeRobot sees them; LeRobot takes seconds to import, hence one file."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from blob_world import BlobWorld
from tiny_chunk_world import CAMERAS, tiny_chunk_world
from tiny_world import tiny_world

from cosmos_sim.envs.world import CosmosWorld

pytest.importorskip("lerobot")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("worlds") / "tiny"
    tiny_world().save_pretrained(path)
    return path


@pytest.fixture
def plugin():
    from lerobot.configs.parser import load_plugin

    load_plugin("cosmos_sim.envs")
    return sys.modules["cosmos_sim.envs.lerobot_env"]


def act_policy(config, cameras):
    """A small random ACT for the features of ``config``."""
    from lerobot.envs.utils import env_to_policy_features
    from lerobot.policies.act.configuration_act import ACTConfig
    from lerobot.policies.act.modeling_act import ACTPolicy

    features = env_to_policy_features(config)
    assert set(features) - {"observation.state"} == {"action", *(f"observation.images.{c}" for c in cameras)}
    action = {"action": features.pop("action")}
    sizes = {
        "chunk_size": 4,
        "n_action_steps": 4,
        "dim_model": 32,
        "n_heads": 2,
        "dim_feedforward": 32,
        "latent_dim": 8,
    }
    layers = {"n_encoder_layers": 1, "n_vae_encoder_layers": 1, "pretrained_backbone_weights": None}
    torch.manual_seed(0)
    return ACTPolicy(ACTConfig(input_features=features, output_features=action, device="cpu", **sizes, **layers))


def test_lerobot_evaluates_a_policy_in_the_world(plugin, folder, tmp_path):
    from lerobot.envs.factory import make_env, make_env_config, make_env_pre_post_processors
    from lerobot.policies.act.processor_act import make_act_pre_post_processors
    from lerobot.scripts.lerobot_eval import eval_policy

    config = make_env_config("cosmos_world", world=str(folder), episode_length=5, device="cpu")
    world = tiny_world()
    assert config.task == world.spec.task
    assert config.fps == world.spec.fps
    env = make_env(config, n_envs=2, use_async_envs=True)["cosmos_world"][0]
    policy = act_policy(config, world.spec.cameras)
    before, after = make_env_pre_post_processors(config, policy.config)
    processors = make_act_pre_post_processors(policy.config)
    with torch.no_grad():
        result = eval_policy(
            env, policy, before, after, *processors, 2, max_episodes_rendered=1, videos_dir=tmp_path, start_seed=7
        )
    assert [episode["seed"] for episode in result["per_episode"]] == [7, 8]
    assert 0 <= result["aggregated"]["pc_success"] <= 100
    assert (tmp_path / "eval_episode_0.mp4").stat().st_size > 0
    env.close()


def test_lerobots_batch_is_the_world_with_clipped_actions(plugin, folder):
    from lerobot.envs.utils import NEW_ROLLOUT_OPTION

    config = plugin.CosmosWorldEnv(world=str(folder), device="cpu", dtype="float32")
    env = config.create_envs(2)["cosmos_world"][0]
    single = CosmosWorld(str(folder), device="cpu", dtype="float32")
    observation, _ = env.reset(seed=[5, 6], options={NEW_ROLLOUT_OPTION: True})
    single.reset(seed=6)
    observation = env.step(np.full((2, 5), 7.0, np.float32))[0]
    expected = single.step(single.action_space.high)[0]
    for camera in expected["pixels"]:
        apart = np.abs(observation["pixels"][camera][1].astype(int) - expected["pixels"][camera])
        assert apart.max() <= 1
    with pytest.raises(ValueError, match="colour"):
        env.reset(options={"colour": 1})


def test_what_the_plugin_cannot_do_is_refused(plugin, folder):
    with pytest.raises(ValueError, match="'elsewhere'"):
        plugin.CosmosWorldEnv(world="elsewhere")
    with pytest.raises(ValueError, match="got task='fold'"):
        plugin.CosmosWorldEnv(world=str(folder), task="fold")


def test_the_twin_is_a_lerobot_environment_too(plugin):
    from lerobot.envs.factory import make_env_config
    from lerobot.envs.utils import NEW_ROLLOUT_OPTION

    config = make_env_config("cosmos_twin", episode_length=2)
    assert config.features["pixels/wrist"].shape == (128, 128, 3)
    env = config.create_envs(1)["cosmos_twin"][0]
    observation, _ = env.reset(seed=[3], options={NEW_ROLLOUT_OPTION: True})
    assert {name: space.shape for name, space in env.single_observation_space["pixels"].items()} == {
        name.removeprefix("pixels/"): feature.shape
        for name, feature in config.features.items()
        if name.startswith("pixels/")
    }
    assert env.single_observation_space["agent_pos"].shape == config.features["agent_pos"].shape
    assert env.single_action_space.shape == config.features["action"].shape
    assert env.call("task_description") == ("lift the cube",)
    assert env.call("_max_episode_steps") == (2,)
    action = np.full((1, 7), 1.5, np.float32)
    assert not env.step(action)[3]
    last, _, _, truncated, _ = env.step(action)
    assert truncated
    # LeRobot goes on stepping until the whole batch has ended.
    held = env.step(action)[0]
    assert np.array_equal(held["pixels"]["agentview"], last["pixels"]["agentview"])
    assert not np.array_equal(held["pixels"]["agentview"], observation["pixels"]["agentview"])
    env.close()


def test_lerobot_tells_the_tabletops_policies_what_to_do(plugin):
    from lerobot.envs.factory import make_env_config

    env = make_env_config("cosmos_twin", task="Tabletop", split="unseen_objects").create_envs(2)["cosmos_twin"][0]
    _, info = env.reset(seed=[3, 4])
    assert env.call("task_description") == tuple(info["task"])
    assert env.call("split") == ("unseen_objects", "unseen_objects")
    assert len(set(info["task"])) == 2
    env.close()
    with pytest.raises(ValueError, match="'Lift' is always the same task and has no split 'unseen_objects'"):
        make_env_config("cosmos_twin", split="unseen_objects").create_envs(1)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A reward classifier with random weights on a random ResNet, and what LeRobot saves of it."""
    from lerobot.configs import FeatureType, PolicyFeature
    from lerobot.rewards.classifier import Classifier, RewardClassifierConfig, make_classifier_processor

    transformers = pytest.importorskip("transformers")

    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("classifier")
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "layer_type": "basic"}
    transformers.ResNetModel(transformers.ResNetConfig(**sizes)).save_pretrained(root / "backbone")
    image = PolicyFeature(type=FeatureType.VISUAL, shape=(3, 128, 128))
    config = RewardClassifierConfig(
        input_features={"observation.images.side": image, "observation.images.top": image},
        num_cameras=2,
        model_name=str(root / "backbone"),
        hidden_dim=16,
        latent_dim=16,
    )
    model = Classifier(config).eval()
    model.save_pretrained(root / "trained")
    stats = {
        f"observation.images.{camera}": {
            "mean": torch.tensor([0.2, 0.3, 0.1])[:, None, None],
            "std": torch.tensor([0.1, 0.2, 0.3])[:, None, None],
        }
        for camera in ("top", "side")
    }
    make_classifier_processor(config, stats)[0].save_pretrained(root / "trained")
    return SimpleNamespace(model=model, folder=root / "trained", root=root)


def test_lerobot_evaluates_a_policy_in_a_world_of_chunks(plugin, classifier, tmp_path):
    from lerobot.envs.factory import make_env, make_env_config, make_env_pre_post_processors
    from lerobot.policies.act.processor_act import make_act_pre_post_processors
    from lerobot.scripts.lerobot_eval import eval_policy

    tiny_chunk_world().save_pretrained(tmp_path / "big")
    with pytest.raises(ValueError, match="give reward_classifier="):
        plugin.CosmosWorldEnv(world=str(tmp_path / "big"))
    arguments = {"world": str(tmp_path / "big"), "reward_classifier": str(classifier.folder), "device": "cpu"}
    config = make_env_config("cosmos_world", episode_length=2, **arguments)
    assert set(config.features) == {"action", "pixels/top", "pixels/side"}
    env = make_env(config, n_envs=1)["cosmos_world"][0]
    assert env.single_action_space.shape == (3,)
    policy = act_policy(config, CAMERAS)
    processors = make_act_pre_post_processors(policy.config)
    with torch.no_grad():
        result = eval_policy(
            env, policy, *make_env_pre_post_processors(config, policy.config), *processors, 1, start_seed=7
        )
    assert [episode["seed"] for episode in result["per_episode"]] == [7]


def square_blob():
    return BlobWorld(cameras={"top": (128, 128), "side": (128, 128)}, has_success=False)


def by_hand(model, observation, normalise):
    """The probability that LeRobot's own ``predict`` gives for one observation."""
    mean, std = (torch.tensor(v)[:, None, None] for v in ([0.2, 0.3, 0.1], [0.1, 0.2, 0.3]))
    images = []
    for camera in ("side", "top"):
        image = torch.from_numpy(observation["pixels"][camera]).permute(2, 0, 1).float() / 255
        images.append((((image - mean) / (std + 1e-8)) if normalise else image)[None])
    with torch.inference_mode():
        return float(model.predict(images).probabilities[0])


@pytest.mark.parametrize("saved", [True, False])
def test_a_reward_classifier_judges_imagined_frames(classifier, saved):
    from cosmos_sim.envs.rewards_lerobot import LeRobotReward

    env = CosmosWorld(square_blob(), reward_model=LeRobotReward(classifier.folder if saved else classifier.model))
    env.reset(seed=0)
    judged = []
    for action in ([1, 0.5, 3], [-2, -0.5, 0]):
        observation, _, _, _, info = env.step(np.float32(action))
        judged.append(info["success_probability"])
        assert judged[-1] == pytest.approx(by_hand(classifier.model, observation, normalise=saved), abs=1e-5)
    assert judged[0] != judged[1]
    plans = np.zeros((2, 3, 3), np.float32)
    assert env.branch(env.save_state(), plans).success.shape == (2, 3)


def test_reward_models_that_cannot_judge_are_refused(classifier, tmp_path):
    from lerobot.rewards.classifier import Classifier
    from lerobot.rewards.topreward.configuration_topreward import TOPRewardConfig

    from cosmos_sim.envs.rewards_lerobot import LeRobotReward

    with pytest.raises(ValueError, match="got 3"):
        LeRobotReward(3)
    TOPRewardConfig(device="cpu").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="'topreward'"):
        LeRobotReward(tmp_path)
    config = classifier.model.config
    three = Classifier(type(config)(**{**vars(config), "num_classes": 3}))
    with pytest.raises(ValueError, match="3 classes"):
        LeRobotReward(three)
    env = CosmosWorld(
        BlobWorld(cameras={"top": (128, 128)}, has_success=False), reward_model=LeRobotReward(classifier.model)
    )
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"looks at 'observation.images.side', but the world's cameras are top"):
        env.step(np.zeros(3, np.float32))
