"""Tiny random ACT and Diffusion policies, built offline, saved as LeRobot saves them and run through the adapter."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cosmos_sim.policies.episode_noise import EpisodeNoise
from cosmos_sim.policies.load import load_policy
from cosmos_sim.types import Policy

STATS = {
    "observation.state": {"mean": torch.arange(5.0), "std": torch.full((5,), 2.0), "min": -torch.ones(5)},
    "action": {"mean": torch.tensor([1.0, 2.0, 3.0]), "std": torch.tensor([0.1, 1.0, 10.0]), "min": -torch.ones(3)},
}


def save(folder: Path, kind: str, *, cameras: tuple[str, ...] = ("front", "side"), size: int = 64, **extra) -> Path:
    from lerobot.configs import FeatureType, PolicyFeature
    from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors

    sizes = {
        "act": {"chunk_size": 4, "n_action_steps": 2, "dim_model": 16, "n_heads": 2, "dim_feedforward": 16},
        "diffusion": {"n_obs_steps": 2, "horizon": 8, "n_action_steps": 3, "down_dims": (16, 32)},
    }[kind]
    depth = {"n_encoder_layers": 1, "n_vae_encoder_layers": 1} if kind == "act" else {}
    steps = {"num_train_timesteps": 5, "spatial_softmax_num_keypoints": 4} if kind == "diffusion" else {}
    images = {f"observation.images.{c}": PolicyFeature(FeatureType.VISUAL, (3, size, size)) for c in cameras}
    config = make_policy_config(
        kind,
        input_features={**images, "observation.state": PolicyFeature(FeatureType.STATE, (5,)), **extra},
        output_features={"action": PolicyFeature(FeatureType.ACTION, (3,))},
        pretrained_backbone_weights=None,
        device="cpu",
        push_to_hub=False,
        **sizes,
        **depth,
        **steps,
    )
    torch.manual_seed(0)
    policy = get_policy_class(kind)(config)
    stats = {key: {**value, "max": -value["min"]} for key, value in STATS.items()}
    image = {key: {"mean": torch.zeros(3, 1, 1), "std": torch.ones(3, 1, 1)} for key in images}
    image = {key: {**value, "min": torch.zeros(3, 1, 1), "max": torch.ones(3, 1, 1)} for key, value in image.items()}
    policy.save_pretrained(folder)
    for processor in make_pre_post_processors(config, dataset_stats={**stats, **image}):
        processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def act(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("lerobot") / "act", "act")


@pytest.fixture(scope="module")
def diffusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("lerobot") / "diffusion", "diffusion")


@pytest.fixture
def seen(observation: dict) -> dict:
    """The observation with images of the size that the policies declare."""
    pixels = {camera: np.resize(images, (3, 64, 64, 3)) for camera, images in observation["pixels"].items()}
    return {**observation, "pixels": pixels}


def rows(observation: dict, chosen: list[int]) -> dict:
    pixels = {camera: images[chosen] for camera, images in observation["pixels"].items()}
    return {"pixels": pixels, "agent_pos": observation["agent_pos"][chosen]}


def test_act_gives_what_lerobot_gives(act: Path, seen: dict):
    from lerobot.policies.act.modeling_act import ACTPolicy

    policy = load_policy(f"lerobot:{act}")
    assert isinstance(policy, Policy)
    policy.reset([0, 1, 2])
    got = [policy.act(seen, {}) for _ in range(2)]
    assert got[0].shape == (3, 1, 3)
    assert got[0].dtype == np.float32

    theirs = ACTPolicy.from_pretrained(act)
    batch = {
        f"observation.images.{camera}": torch.from_numpy(seen["pixels"][camera]).permute(0, 3, 1, 2) / 255
        for camera in ("front", "side")
    }
    batch["observation.state"] = (torch.from_numpy(seen["agent_pos"]) - torch.arange(5.0)) / 2.0
    chunk = theirs.predict_action_chunk(batch)
    wanted = chunk * torch.tensor([0.1, 1.0, 10.0]) + torch.tensor([1.0, 2.0, 3.0])
    for step in range(2):
        np.testing.assert_allclose(got[step][:, 0], wanted[:, step], rtol=1e-4, atol=1e-4)


def test_diffusion_draws_each_episode_from_its_seed(diffusion: Path, seen: dict):
    policy = load_policy(f"lerobot:{diffusion}")
    policy.reset([4, 5, 6])
    first = [policy.act(seen, {}) for _ in range(4)]
    policy.reset([6, 4])
    again = [policy.act(rows(seen, [2, 0]), {}) for _ in range(4)]
    for step in range(4):
        np.testing.assert_allclose(again[step], first[step][[2, 0]], rtol=1e-3, atol=1e-4)
    policy.reset([7, 8, 9])
    assert np.abs(policy.act(seen, {}) - first[0]).max() > 1e-3


def test_the_global_generator_is_left_alone(diffusion: Path, seen: dict):
    policy = load_policy(f"lerobot:{diffusion}")
    policy.reset([4, 5, 6])
    before = torch.get_rng_state()
    policy.act(seen, {})
    assert torch.equal(torch.get_rng_state(), before)


def test_images_are_resized_to_what_the_policy_declares(act: Path, observation: dict):
    policy = load_policy(f"lerobot:{act}")
    policy.reset([0, 1, 2])
    assert policy.act(observation, {}).shape == (3, 1, 3)


def test_cameras_can_be_mapped(tmp_path: Path, seen: dict):
    folder = save(tmp_path / "top", "act", cameras=("top",))
    policy = load_policy(f"lerobot:{folder}")
    policy.reset([0, 1, 2])
    with pytest.raises(ValueError, match=r"camera 'top'.*\['front', 'side'\].*\?top="):
        policy.act(seen, {})
    actions = {}
    for camera in ("front", "side"):
        policy = load_policy(f"lerobot:{folder}?top={camera}")
        policy.reset([0, 1, 2])
        actions[camera] = policy.act(seen, {})
    assert not np.allclose(actions["front"], actions["side"])
    with pytest.raises(ValueError, match=r"no camera 'bottom'.*\['top'\]"):
        load_policy(f"lerobot:{folder}?bottom=front")
    with pytest.raises(ValueError, match="'top'"):
        load_policy(f"lerobot:{folder}?top")


def test_what_no_environment_gives_is_refused(tmp_path: Path):
    from lerobot.configs import FeatureType, PolicyFeature

    extra = {"observation.environment_state": PolicyFeature(FeatureType.ENV, (4,))}
    folder = save(tmp_path / "extra", "act", **extra)
    with pytest.raises(ValueError, match=r"observation.environment_state"):
        load_policy(f"lerobot:{folder}")


def test_bad_observations_name_what_is_wrong(act: Path, seen: dict):
    policy = load_policy(f"lerobot:{act}")
    policy.reset([0, 1])
    with pytest.raises(ValueError, match=r"3 environments.*2 episodes"):
        policy.act(seen, {})
    policy.reset([0, 1, 2])
    with pytest.raises(ValueError, match="5 values, got 4"):
        policy.act({**seen, "agent_pos": seen["agent_pos"][:, :4]}, {})


def test_bad_folders_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"no folder '/no/such'"):
        load_policy("lerobot:/no/such")
    folder = save(tmp_path / "act", "act", cameras=("front",))
    with pytest.raises(ValueError, match=f"'lerobot:{folder}'"):
        load_policy(folder)
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    with pytest.raises(ValueError, match="1000 bytes"):
        load_policy(f"lerobot:{folder}")
    weights.write_bytes(whole)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dim_model": 32}))
    with pytest.raises(ValueError, match="does not fit its config"):
        load_policy(f"lerobot:{folder}")
    (folder / "config.json").write_text(json.dumps({**config, "type": "no-such-type"}))
    with pytest.raises(ValueError, match="no-such-type"):
        load_policy(f"lerobot:{folder}")
    (folder / "config.json").write_text(json.dumps({"kind": "policy"}))
    with pytest.raises(ValueError, match="holds no LeRobot policy"):
        load_policy(f"lerobot:{folder}")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "policy_postprocessor.json").unlink()
    with pytest.raises(ValueError, match=r"policy_postprocessor.json"):
        load_policy(f"lerobot:{folder}")


def test_episode_noise_covers_the_usual_draws_and_no_others():
    def draw(seeds: list[int]) -> list[torch.Tensor]:
        with EpisodeNoise([torch.Generator().manual_seed(seed) for seed in seeds]):
            n = len(seeds)
            return [
                torch.randn(n, 3),
                torch.randn((n, 3), dtype=torch.float64),
                torch.randn(size=(n, 2)),
                torch.rand(n),
                torch.randn_like(torch.zeros(n, 2)),
                torch.normal(mean=5.0, std=0.1, size=(n, 4)),
            ]

    three, two = draw([1, 2, 3]), draw([3, 1])
    for full, part in zip(three, two, strict=True):
        assert torch.equal(full[[2, 0]], part)
    assert three[1].dtype == torch.float64
    assert torch.all((three[3] >= 0) & (three[3] < 1))
    assert torch.all((three[5] - 5).abs() < 1)
    torch.manual_seed(0)
    wanted = torch.randn(5, 2)
    torch.manual_seed(0)
    with EpisodeNoise([torch.Generator().manual_seed(1)] * 2):
        assert torch.equal(torch.randn(5, 2), wanted)
