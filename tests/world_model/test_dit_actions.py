"""Actions of any robot, in the three ways of the paper's table 20 and both released layouts."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tiny_dit import TINY, inputs, output, randomised

from cosmos_sim.world_model.action_conditioning import actions_of_chunk, actions_per_latent
from cosmos_sim.world_model.dit import DiT, DiTConfig

INJECTIONS = ("timestep", "cross_attention", "channels")


def reached(config: DiTConfig, *, known: int = 1, b: int = 2) -> torch.Tensor:
    """[frame, row of actions]: whether the frame's velocity depends on that row."""
    model = randomised(DiT(config))
    given = inputs(config, b=b, size=(4, 4, 6), known=known)
    given["action"].requires_grad_()
    out = model(**given)
    gradients = [torch.autograd.grad(out[:, :, t].sum(), given["action"], retain_graph=True)[0] for t in range(4)]
    return torch.stack([g.abs().amax(dim=(0, 2)) > 0 for g in gradients])


@pytest.mark.parametrize("injection", INJECTIONS)
def test_an_action_reaches_its_own_latent_and_a_known_frame_minds_none(injection: str):
    config = replace(TINY, action_dim=10, action_injection=injection)
    expected = torch.ones(4, 4, dtype=torch.bool)
    expected[:, 0] = False
    assert torch.equal(reached(config), expected)
    assert reached(config, known=0).all()


@pytest.mark.parametrize("injection", INJECTIONS)
def test_causally_an_action_reaches_no_earlier_latent(injection: str):
    config = replace(TINY, action_dim=10, action_injection=injection, causal=True)
    expected = torch.ones(4, 4).tril().bool()
    assert torch.equal(reached(config, known=0), expected)
    expected[:, 0] = False
    assert torch.equal(reached(config), expected)


@pytest.mark.parametrize("injection", INJECTIONS)
def test_a_whole_chunk_reaches_every_frame(injection: str):
    config = replace(TINY, action_dim=21, action_injection=injection, action_layout="chunk")
    assert reached(config).tolist() == [[True]] * 4


@pytest.mark.parametrize("injection", ["timestep", "channels"])
def test_initially_actions_are_silent(injection: str):
    model = DiT(replace(TINY, action_dim=6, action_injection=injection)).eval()
    given = inputs(model.config)
    silent = output(model, **given)
    torch.testing.assert_close(output(model, **(given | {"action": 5 * given["action"]})), silent, rtol=0, atol=1e-6)
    assert silent.abs().mean() > 0.01


def test_the_timestep_embedding_is_the_released_formula():
    """Raw sinusoid + (1 - mask) MLP(actions) into the norm; the same for the shared modulation, after its own MLP."""
    config = replace(TINY, action_dim=6)
    model = randomised(DiT(config))
    given = inputs(config, size=(3, 4, 6), known=1)
    seen = {}
    model.t_embedding_norm.register_forward_pre_hook(lambda _, arguments: seen.update(emb=arguments[0]))
    model.blocks[0].register_forward_pre_hook(lambda _, arguments: seen.update(adaln=arguments[1].adaln))
    output(model, **given)
    weights = {name: tensor.double() for name, tensor in model.state_dict().items()}

    def mlp(name: str) -> torch.Tensor:
        hidden = given["action"].double() @ weights[f"{name}.fc1.weight"].T + weights[f"{name}.fc1.bias"]
        return F.gelu(hidden, approximate="tanh") @ weights[f"{name}.fc2.weight"].T + weights[f"{name}.fc2.bias"]

    angle = given["timestep"].double()[..., None] * 1e-3 * 1e4 ** (-torch.arange(24, dtype=torch.float64) / 24)
    sinusoid = torch.cat([angle.cos(), angle.sin()], dim=-1)
    shared = F.silu(sinusoid @ weights["t_embedder.1.linear_1.weight"].T) @ weights["t_embedder.1.linear_2.weight"].T
    heard = torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64)[:, None]
    torch.testing.assert_close(seen["emb"].double(), sinusoid + heard * mlp("action_embedder_B_D"), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen["adaln"].double(), shared + heard * mlp("action_embedder_B_3D"), atol=1e-5, rtol=0)


def test_a_chunk_of_actions_is_laid_out_per_latent():
    actions = torch.arange(2 * 12 * 7, dtype=torch.float32).view(2, 12, 7)
    rows = actions_per_latent(actions)
    assert rows.shape == (2, 4, 28)
    assert rows[:, 0].abs().max() == 0
    assert torch.equal(rows[1, 2], actions[1, 4:8].flatten())
    assert actions_per_latent(torch.ones(1, 6, 14), compression=2).shape == (1, 4, 28)
    assert torch.equal(actions_of_chunk(actions)[1, 0], actions[1].flatten())


def test_actions_that_fill_no_latents_are_refused():
    with pytest.raises(ValueError, match="10 actions do not fill"):
        actions_per_latent(torch.zeros(1, 10, 7))
    with pytest.raises(ValueError, match="0 actions"):
        actions_per_latent(torch.zeros(1, 0, 7))
    with pytest.raises(ValueError, match=r"\(12, 7\)"):
        actions_per_latent(torch.zeros(12, 7))
    with pytest.raises(ValueError, match="not 0"):
        actions_per_latent(torch.zeros(1, 4, 7), compression=0)
    with pytest.raises(ValueError, match=r"\(1, 0, 7\)"):
        actions_of_chunk(torch.zeros(1, 0, 7))
    model = DiT(replace(TINY, action_dim=28))
    with pytest.raises(ValueError, match=r"action has shape \(2, 12, 7\), expected \(2, 3, 28\)"):
        model(**(inputs(model.config) | {"action": torch.zeros(2, 12, 7)}))
