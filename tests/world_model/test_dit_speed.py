"""What makes the transformer faster changes nothing, or says by how much."""

import copy
import pickle
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from tiny_dit import TINY, inputs, output, randomised
from torch._dynamo.utils import counters

from cosmos_sim.world_model.dit import DiT
from cosmos_sim.world_model.first_block import FirstBlockCache


@pytest.mark.parametrize("text", [True, False])
def test_fused_weights_give_the_same_under_the_same_names(text: bool):
    config = TINY if text else replace(TINY, context_dim=None, context_in_dim=None)
    model = randomised(DiT(config))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    given = inputs(config)
    expected = output(model, **given)
    assert model.fuse() is model.fuse()
    assert sum("q_proj" in name or "adaln_modulation_mlp" in name for name, _ in model.blocks.named_parameters()) == (
        config.num_blocks if text else 0
    )
    torch.testing.assert_close(output(model, **given), expected, rtol=0, atol=1e-5 * expected.abs().max().item())
    after = model.state_dict()
    assert set(after) == set(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())

    other = pickle.loads(pickle.dumps(copy.deepcopy(DiT(config).fuse())))
    other.load_state_dict(before, strict=True)
    torch.testing.assert_close(output(other.eval(), **given), output(model, **given), rtol=0, atol=0)
    with pytest.raises(RuntimeError, match=r"blocks.1.self_attn.k_proj|qkv_weight"):
        other.load_state_dict({name: t for name, t in before.items() if name != "blocks.1.self_attn.k_proj.weight"})


def test_a_fused_network_can_be_cast_and_trained_but_not_initialised():
    model = randomised(DiT(TINY)).fuse()
    given = inputs(TINY)
    plain = randomised(DiT(TINY))
    for side in (model, plain):
        side(**given).square().sum().backward()
    joined = model.blocks[1].self_attn.qkv_weight.grad
    separate = [getattr(plain.blocks[1].self_attn, f"{name}_proj").weight.grad for name in "qkv"]
    torch.testing.assert_close(joined, torch.cat(separate), rtol=1e-4, atol=1e-4 * joined.abs().max().item())
    model.cast(torch.bfloat16)
    assert model.adaln_modulations.up.dtype == torch.float32
    assert model.blocks[1].self_attn.qkv_weight.dtype == torch.bfloat16
    error = (output(model, **given) - output(plain, **given)).norm() / output(plain, **given).norm()
    assert 0 < error < 0.05
    with pytest.raises(ValueError, match="before fuse"):
        model.reset_parameters()


def test_adapters_are_not_fused_away():
    model = randomised(DiT(TINY))
    inject_adapter_in_model(LoraConfig(r=2, target_modules=["q_proj"]), model.blocks[1])
    expected = output(model, **inputs(TINY))
    with pytest.raises(ValueError, match="merge adapters"):
        model.fuse()
    torch.testing.assert_close(output(model, **inputs(TINY)), expected)


def test_a_text_is_read_once():
    config = replace(TINY, action_dim=6, action_injection="cross_attention")
    for c in (TINY, config):
        model = randomised(DiT(c))
        given = inputs(c)
        expected = output(model, **given)
        with torch.no_grad():
            read = model.encode_context(given.pop("context"))
        model.crossattn_proj.register_forward_hook(lambda *_: pytest.fail("the text was projected again"))
        torch.testing.assert_close(output(model, **given, context=read), expected, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="encoded for 2 blocks"):
        model(**given, context=read[:2])
    with pytest.raises(ValueError, match=r"\(2, 5, 20\)"):
        model.encode_context(torch.zeros(2, 5, 20))


def test_the_first_block_tells_when_the_rest_may_be_reused():
    model = randomised(DiT(TINY))
    given = inputs(TINY)
    steps = [given | {"timestep": given["timestep"] + shift} for shift in (0.0, 0.5, 40.0, 41.0, 400.0)]
    exact = [output(model, **step) for step in steps]
    errors, reused = [], []
    for threshold in (0.0, 0.02, 0.9):
        cache = FirstBlockCache(threshold)
        found = [output(model, **step, first_block_cache=cache) for step in steps]
        assert cache.evaluations == len(steps)
        torch.testing.assert_close(found[0], exact[0])
        errors.append(max(((f - e).norm() / e.norm()).item() for f, e in zip(found, exact, strict=True)))
        reused.append(cache.reused)
    assert reused[0] == 0
    assert errors[0] < 1e-5
    assert 0 < reused[1] < reused[2] == len(steps) - 1
    assert errors[0] < errors[1] < errors[2]
    cache.clear()
    torch.testing.assert_close(output(model, **steps[-1], first_block_cache=cache), exact[-1])
    smaller = inputs(TINY, size=(2, 4, 4))
    torch.testing.assert_close(output(model, **smaller, first_block_cache=cache), output(model, **smaller))
    with pytest.raises(ValueError, match=r"not 1.5"):
        FirstBlockCache(1.5)


@pytest.mark.parametrize("fused", [False, True])
def test_blocks_are_compiled_once_for_all(fused: bool):
    """Whole blocks without a break in the graph, and one compilation however many blocks there are."""
    torch._dynamo.reset()
    counters.clear()
    config = replace(TINY, action_dim=6, action_injection="cross_attention")
    model = randomised(DiT(config))
    given = inputs(config)
    expected = output(model, **given)
    if fused:
        model.fuse()
    names = set(model.state_dict())
    model.compile_blocks(backend="eager", fullgraph=True)
    torch.testing.assert_close(output(model, **given), expected, rtol=0, atol=1e-5 * expected.abs().max().item())
    assert counters["stats"]["unique_graphs"] == 1
    assert set(model.state_dict()) == names


def test_the_whole_network_compiles_as_one_graph():
    torch._dynamo.reset()
    model = randomised(DiT(replace(TINY, num_blocks=1, causal=True)))
    given = inputs(model.config)
    expected = output(model, **given)
    model.compile(backend="eager", fullgraph=True)
    torch.testing.assert_close(output(model, **given), expected, rtol=0, atol=1e-5 * expected.abs().max().item())
