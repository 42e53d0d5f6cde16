from dataclasses import replace

import pytest
import torch
from tiny_control import control_inputs, controlled
from tiny_dit import TINY, inputs
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cosmos_sim.training.speed import peak_flops
from cosmos_sim.world_model.control import ControlConfig
from cosmos_sim.world_model.dit import DiT, DiTConfig, preset
from cosmos_sim.world_model.flops import attention_flops, branch_flops, forward_flops, utilisation

CONFIGS = {
    "text": TINY,
    "text as it is": replace(TINY, context_in_dim=None, padding_mask=False, mlp_ratio=3.0),
    "no text": replace(TINY, context_dim=None, context_in_dim=None, patch=(3, 2, 2)),
    "causal": replace(TINY, causal=True),
    "actions": replace(TINY, action_dim=10),
    "actions as tokens": replace(TINY, action_dim=10, action_injection="cross_attention"),
    "style image": replace(TINY, image_dim=9),
    "actions as channels": replace(TINY, action_dim=30, action_injection="channels", action_layout="chunk"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_counts_what_torch_counts(name: str):
    config = CONFIGS[name]
    given = inputs(config, b=2, size=(3, 4, 10), text=7)
    model, text = DiT(config), 0 if config.context_dim is None else 7
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(**given)
    assert forward_flops(config, (3, 4, 10), text_tokens=text, batch=2) == counter.get_total_flops()
    in_attention = counter.get_flop_counts()["Global"].get(torch.ops.aten.bmm, 0)
    assert 2 * attention_flops(config, (3, 4, 10), text_tokens=text) == in_attention
    if text:
        with torch.no_grad():
            given["context"] = model.encode_context(given["context"])
            with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
                model(**given)
        cached = forward_flops(config, (3, 4, 10), text_tokens=text, batch=2, cached_text=True)
        assert cached == counter.get_total_flops()


@pytest.mark.parametrize("image", [0, 4])
def test_counts_what_torch_counts_of_branches(image: int):
    config = replace(TINY, image_dim=11 if image else None)
    model = controlled(config, "edge", config=ControlConfig(blocks=2, every=2, channels=9))
    given = control_inputs(config, "edge", size=(3, 4, 10), text=7)
    if image:
        given["image_context"] = torch.randn(2, image, 11)
    sizes = {"text_tokens": 7, "image_tokens": image or 1, "batch": 2}
    for cached in (False, True):
        if cached:
            given["context"] = model.encode_context(given["context"], given.pop("image_context", None), kinds=["edge"])
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model(**given)
        base = forward_flops(config, (3, 4, 10), **sizes, cached_text=cached)
        branch = branch_flops(config, model.branches["edge"].config, (3, 4, 10), **sizes, cached_text=cached)
        assert base + branch == counter.get_total_flops()


def test_the_2b_at_720p_costs_what_the_literature_says():
    """1.92e15 for 93 frames of 704x1280: 84,480 tokens."""
    assert forward_flops(preset("predict2.5-2b"), (24, 88, 160), text_tokens=512) == pytest.approx(1.92e15, rel=0.01)


def test_utilisation_is_a_share_of_the_peak():
    assert peak_flops("NVIDIA H200") == peak_flops("NVIDIA H100 80GB HBM3") == 989e12
    assert utilisation(1.92e15, 3.5, 989e12) == pytest.approx(0.5547, abs=1e-4)
    with pytest.raises(ValueError, match="'NVIDIA GeForce'"):
        peak_flops("NVIDIA GeForce")
    with pytest.raises(ValueError, match="positive"):
        utilisation(1.0, 0.0, 1.0)


def test_sizes_and_texts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 5, 4\)"):
        forward_flops(TINY, (3, 5, 4), text_tokens=1)
    with pytest.raises(ValueError, match="text_tokens=0"):
        forward_flops(DiTConfig(), (1, 2, 2))
