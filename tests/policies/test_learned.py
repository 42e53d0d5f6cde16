import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save_file

from cosmos_sim.policies.diffusion import DiffusionConfig
from cosmos_sim.policies.encoder import EncoderConfig
from cosmos_sim.policies.learned import LearnedPolicy, build, episode_generators
from cosmos_sim.policies.load import load_policy
from cosmos_sim.policies.regression import RegressionConfig
from cosmos_sim.types import Policy

ENCODER = EncoderConfig(("side", "front"), 5, resolution=32, crop=24, width=8, keypoints=4, features=8)
CONFIGS = {
    "diffusion": DiffusionConfig(ENCODER, 3, execute=7, channels=(16, 24), kernel=3, inference_steps=5),
    "regression": RegressionConfig(ENCODER, 3, horizon=7, execute=6, hidden=32),
}


def policy(family: str) -> LearnedPolicy:
    torch.manual_seed(0)
    model = build(CONFIGS[family])
    model.action_scale.copy_(torch.tensor([1.0, 10.0, 100.0]))
    return LearnedPolicy(model, metadata={"training": {"task": "point"}})


@pytest.fixture(params=sorted(CONFIGS))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    policy("diffusion").save_pretrained(tmp_path / "squares", card="# Squares\n")
    return tmp_path / "squares"


def select(observation: dict, rows: list[int]) -> dict:
    return {
        "pixels": {camera: images[rows] for camera, images in observation["pixels"].items()},
        "agent_pos": observation["agent_pos"][rows],
    }


def test_acts_in_chunks_of_float32(family: str, observation: dict):
    acting = policy(family)
    assert isinstance(acting, Policy)
    acting.reset([4, 5, 6])
    actions = acting.act(observation, {})
    assert actions.shape == (3, CONFIGS[family].execute, 3)
    assert actions.dtype == np.float32


def test_an_episode_does_not_depend_on_its_batch(family: str, observation: dict):
    acting = policy(family)
    acting.reset([4, 5, 6])
    first, second = acting.act(observation, {}), acting.act(observation, {})
    acting.reset([6, 4])
    swapped = select(observation, [2, 0])
    np.testing.assert_allclose(acting.act(swapped, {}), first[[2, 0]], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(acting.act(swapped, {}), second[[2, 0]], rtol=1e-3, atol=1e-3)


def test_seeds_decide_what_diffusion_draws(observation: dict):
    acting = policy("diffusion")
    acting.reset([4, 4, 5])
    same = select(observation, [0, 0, 0])
    first, again = acting.act(same, {}), acting.act(same, {})
    np.testing.assert_allclose(first[0], first[1], rtol=1e-3, atol=1e-3)
    assert np.abs(first[0] - first[2]).max() > 1e-2
    assert np.abs(first - again).max() > 1e-2
    acting.reset([4, 4, 5])
    np.testing.assert_array_equal(acting.act(same, {}), first)


def test_a_policy_and_a_world_of_one_seed_share_no_noise():
    ours = torch.randn(1000, generator=episode_generators([7])[0])
    theirs = torch.randn(1000, generator=torch.Generator().manual_seed(7))
    assert abs(np.corrcoef(ours, theirs)[0, 1]) < 0.15


def test_survives_the_disk(family: str, observation: dict, tmp_path: Path):
    before = policy(family)
    before.save_pretrained(tmp_path / "saved", card="# Card\n")
    assert sorted(p.name for p in (tmp_path / "saved").iterdir()) == ["README.md", "config.json", "model.safetensors"]
    after = load_policy(tmp_path / "saved")
    assert isinstance(after, LearnedPolicy)
    assert after.config == before.config
    assert after.metadata == {"training": {"task": "point"}}
    before.reset([1, 2, 3])
    after.reset([1, 2, 3])
    scale = np.array([1.0, 10.0, 100.0])
    np.testing.assert_allclose(after.act(observation, {}) / scale, before.act(observation, {}) / scale, atol=0.02)
    again = load_policy(str(tmp_path / "saved"))
    again.reset([1, 2, 3])
    after.reset([1, 2, 3])
    np.testing.assert_array_equal(again.act(observation, {}), after.act(observation, {}))


def test_bad_observations_name_what_is_wrong(observation: dict):
    acting = policy("diffusion")
    acting.reset([0, 1])
    with pytest.raises(ValueError, match=r"3 environments.*2 episodes"):
        acting.act(observation, {})
    acting.reset([0, 1, 2])
    with pytest.raises(ValueError, match=r"'side'.*\['front'\]"):
        acting.act({**observation, "pixels": {"front": observation["pixels"]["front"]}}, {})
    with pytest.raises(ValueError, match=r"\(b, 5\).*\(3, 4\)"):
        acting.act({**observation, "agent_pos": observation["agent_pos"][:, :4]}, {})
    with pytest.raises(ValueError, match=r"finite.*nan"):
        acting.act({**observation, "agent_pos": observation["agent_pos"] * np.nan}, {})
    pixels = {camera: images / 255 for camera, images in observation["pixels"].items()}
    with pytest.raises(ValueError, match="float64"):
        acting.act({**observation, "pixels": pixels}, {})
    with pytest.raises(ValueError, match="-4"):
        acting.reset([0, -4])


def edit(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(ValueError, match="unknown policy 'no-such-policy'"):
        load_policy("no-such-policy")
    with pytest.raises(ValueError, match=r"'leorobot:'.*did you mean 'lerobot:'"):
        load_policy("leorobot:somewhere")


def test_broken_weights_are_refused(folder: Path):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    tensors = load(whole)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=f"{len(whole) // 2} bytes.*damaged"):
        load_policy(folder)
    path.write_bytes(pickle.dumps({"weights": [1, 2]}))
    with pytest.raises(ValueError, match="pickle"):
        load_policy(folder)
    torch.save(tensors, path)
    with pytest.raises(ValueError, match="pickle"):
        load_policy(folder)
    name = next(iter(tensors))
    save_file({**tensors, name: tensors[name] * float("nan")}, path)
    with pytest.raises(ValueError, match=f"not finite.*{name}"):
        load_policy(folder)
    path.rename(folder / "model.pt")
    with pytest.raises(ValueError, match=r"no model.safetensors.*model.pt, a pickle"):
        load_policy(folder)


def test_weights_of_another_model_are_refused(folder: Path):
    model = json.loads((folder / "config.json").read_text())["model"]
    edit(folder, model={**model, "channels": [16, 32]})
    with pytest.raises(ValueError, match=r"unet.* has shape"):
        load_policy(folder)


def test_foreign_configs_are_refused(folder: Path):
    model = json.loads((folder / "config.json").read_text())["model"]
    edit(folder, model={**model, "layers": 3})
    with pytest.raises(ValueError, match="unknown field 'layers'"):
        load_policy(folder)
    edit(folder, model={**model, "kernel": 4})
    with pytest.raises(ValueError, match="kernel must be odd, got 4"):
        load_policy(folder)
    edit(folder, model=7)
    with pytest.raises(ValueError, match="got 7"):
        load_policy(folder)
    edit(folder, model=model, family="transformer")
    with pytest.raises(ValueError, match="'transformer'"):
        load_policy(folder)
    edit(folder, family="diffusion", format=99)
    with pytest.raises(ValueError, match="format 99"):
        load_policy(folder)
    edit(folder, kind="world")
    with pytest.raises(ValueError, match="'world'"):
        load_policy(folder)
    edit(folder, type="act", input_features={})
    with pytest.raises(ValueError, match="lerobot:"):
        load_policy(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="JSON"):
        load_policy(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"no config.json"):
        load_policy(folder)


def test_regression_stays_within_the_data(observation: dict):
    acting = policy("regression")
    acting.model.head[-1].bias.data.fill_(50.0)
    acting.reset([0, 1, 2])
    np.testing.assert_allclose(acting.act(observation, {})[..., 2], 100.0)


def test_regression_configs_name_the_value():
    for field, value in {"action_dim": 0, "execute": 8, "hidden": 0}.items():
        with pytest.raises(ValueError, match=f"{field}.*got {value}"):
            replace(CONFIGS["regression"], **{field: value})
