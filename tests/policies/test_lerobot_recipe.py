"""LeRobot's ACT and Diffusion, tiny, trained by our loop on the squares and run through the adapter."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cosmos_sim.data.lerobot import read_episodes
from cosmos_sim.policies.demonstrations import Selection
from cosmos_sim.policies.lerobot_recipe import LeRobotPolicyConfig, LeRobotRecipe, lerobot_recipe
from cosmos_sim.policies.load import load_policy
from cosmos_sim.training import TrainConfig, train

TINY = {
    "act": {"chunk_size": 4, "n_action_steps": 2, "dim_model": 32, "n_heads": 2, "n_encoder_layers": 1, "dropout": 0.0},
    "diffusion": {"horizon": 4, "n_action_steps": 2, "down_dims": (16, 32), "crop_shape": (28, 28)},
}


def recipe(dataset: Path, kind: str, **options) -> LeRobotRecipe:
    selection = Selection(str(dataset), held_out=0.2)
    given = {"model": TINY[kind], "resolution": 32, "batch_size": 8, **options}
    return lerobot_recipe(selection, kind, **given)


def test_trains_and_exports_what_lerobot_loads(dataset: Path, tmp_path: Path):
    torch.set_num_threads(1)
    one = recipe(dataset, "act", seed=3)
    one.model.eval()
    before = one.evaluate(torch.Generator())
    config = TrainConfig(steps=12, lr=1e-3, warmup=2, ema=0.5, log_every=6, device="cpu", autocast="fp32")
    figures = train(one, config, tmp_path / "run")
    assert set(figures) == {"loss_train", "loss_held_out"}
    assert figures["loss_train"] < 0.95 * before["loss_train"]
    check_export(one, tmp_path / "run" / "export", dataset)


def test_exported_diffusion_acts_through_the_adapter(dataset: Path, tmp_path: Path):
    one = recipe(dataset, "diffusion")
    one.export(tmp_path)
    check_export(one, tmp_path, dataset)


def check_export(one: LeRobotRecipe, folder: Path, dataset: Path) -> None:
    """The adapter, which resizes and normalises by what is in ``folder``, acts as a chunk of the model in memory."""
    policy = load_policy(f"lerobot:{folder}")
    policy.reset([0, 1])
    first, second = read_episodes(dataset, episodes=[0, 4])
    observation = {
        "pixels": {c: np.stack([first.frames[c][2], second.frames[c][2]]) for c in ("front", "side")},
        "agent_pos": np.stack([first.state[2], second.state[2]]),
    }
    got = policy.act(observation, {})[:, 0]
    assert got.shape == (2, 3)
    assert np.isfinite(got).all()
    if one.config.kind == "act":
        rows = torch.tensor([one.demonstrations.episodes.index(e) * 9 + 2 for e in (0, 4)])
        normalised = one.processors[0](one.observed(rows))
        weights = policy.policy.state_dict()
        one.policy.load_state_dict(weights)
        wanted = one.processors[1](one.policy.predict_action_chunk(normalised)[:, 0])
        np.testing.assert_allclose(got, wanted.detach(), atol=0.05)


def test_the_batch_is_what_lerobots_dataset_gives(dataset: Path):
    one = recipe(dataset, "act")
    batch = one.batch(0, torch.Generator().manual_seed(5))
    data = one.demonstrations
    rows = torch.randint(len(data.train_rows), (8,), generator=torch.Generator().manual_seed(5))
    rows = data.train_rows[rows]
    assert batch["observation.images.front"].shape == (8, 3, 32, 32)
    pixels = data.frames["side"][rows].numpy().astype(np.float32).transpose(0, 3, 1, 2) / 255
    np.testing.assert_allclose(batch["observation.images.side"].numpy(), pixels, atol=1e-6)
    torch.testing.assert_close(batch["observation.state"], data.state[rows])
    left = (data.last[rows] - rows + 1).clamp(max=4)
    assert torch.equal((~batch["action_is_pad"]).sum(1), left)


def test_act_loss_is_the_normalised_absolute_error(dataset: Path):
    one = recipe(dataset, "act")
    one.model.eval()
    batch = one.batch(0, torch.Generator().manual_seed(1))
    data = one.demonstrations
    trained = data.action[data.train_rows]
    wanted = (batch["action"] - trained.mean(0)) / trained.std(0, correction=0)
    with torch.no_grad():
        predicted = one.policy.predict_action_chunk(one.processors[0](dict(batch)))
        loss = one.loss(batch, 0, torch.Generator())["loss"]
    inside = ~batch["action_is_pad"]
    assert loss.item() == pytest.approx((predicted - wanted).abs()[inside].mean().item(), rel=1e-4)


def test_diffusion_sees_one_observation_as_a_sequence(dataset: Path):
    batch = recipe(dataset, "diffusion").batch(0, torch.Generator())
    assert batch["observation.images.front"].shape == (8, 1, 3, 32, 32)
    assert batch["observation.state"].shape == (8, 1, 5)
    assert batch["action"].shape == (8, 4, 3)


def test_the_seed_draws_the_weights(dataset: Path):
    one, same, other = (recipe(dataset, "act", seed=seed).policy.state_dict() for seed in (1, 1, 2))
    name = next(key for key, value in one.items() if value.ndim == 4)
    assert torch.equal(one[name], same[name])
    assert not torch.equal(one[name], other[name])


def test_wrong_options_are_named():
    selection = Selection("anywhere")
    with pytest.raises(ValueError, match="'difusion'; did you mean 'diffusion'"):
        LeRobotPolicyConfig(selection, "difusion")
    for values in ({"batch_size": 0}, {"resolution": -1}, {"seed": -2}, {"model": {"n_obs_steps": 2}}):
        with pytest.raises(ValueError, match=r"got (0|-1|-2|2)"):
            LeRobotPolicyConfig(selection, "act", **values)
