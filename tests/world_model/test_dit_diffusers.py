"""The transformer against diffusers' CosmosTransformer3DModel, with the same random weights."""

from dataclasses import replace

import pytest
import torch
from diffusers_dit import diffusers_name, reference
from tiny_dit import TINY, inputs, randomised

from cosmos_sim.world_model.dit import DiT

PLAIN = replace(TINY, context_in_dim=None)
CASES = {
    "projected text, one known frame": (TINY, {"size": (3, 4, 6), "known": 1}),
    "text as it is, two known frames": (PLAIN, {"size": (5, 6, 2), "known": 2, "b": 1}),
    "nothing known, upright": (TINY, {"size": (2, 10, 4), "known": 0, "text": 2}),
    "padded pixels": (TINY, {"size": (4, 6, 8), "known": 1}),
    "no padding channel": (replace(PLAIN, padding_mask=False), {"size": (3, 4, 10), "known": 1}),
    "one image, many": (TINY, {"size": (1, 6, 10), "known": 0, "b": 3}),
    "other patches, heads and ratios": (
        replace(TINY, patch=(1, 3, 1), num_heads=2, model_channels=52, rope_ratio=(1.5, 3.0, 2.0), mlp_ratio=3.0),
        {"size": (4, 9, 5), "known": 2, "text": 9},
    ),
    "two frames a token": (replace(TINY, patch=(2, 2, 2)), {"size": (6, 4, 6), "known": 2}),
}


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients_are_those_of_diffusers(case: str):
    """fp32: no difference exceeds 1e-5 of the largest output, nor of the largest gradient.

    Each gradient is also compared with its own size, more loosely: those of queries and keys are sums that cancel.
    """
    config, shape = CASES[case]
    own = randomised(DiT(config))
    theirs = reference(own)
    given = inputs(config, **shape)
    b, t, h, w = (given["latent"].shape[i] for i in (0, 2, 3, 4))
    padding = torch.zeros(1, 1, h, w)
    if case == "padded pixels":
        padding[..., -2:] = 1
        given["padding_mask"] = padding[:, :, None].expand(b, 1, t, h, w)
    time = given["timestep"] * 1e-3
    if config.patch[0] > 1:
        time = time[:, :1].expand_as(time)
        given["timestep"] = time * 1e3
    sides = []
    for side in (own, theirs):
        latent, context = (given[k].clone().requires_grad_() for k in ("latent", "context"))
        if side is own:
            out = own(**(given | {"latent": latent, "context": context}))
        else:
            out = theirs(
                hidden_states=latent,
                timestep=time[:, 0] if config.patch[0] > 1 else time[:, None, :, None, None],
                encoder_hidden_states=context,
                condition_mask=given["condition_mask"],
                padding_mask=padding,
                return_dict=False,
            )[0]
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        gradients = {"latent": latent.grad, "context": context.grad}
        for name, parameter in side.named_parameters():
            gradients[diffusers_name(name) if side is own else name] = parameter.grad
        sides.append((out.detach(), gradients))
    (ours, our_gradients), (expected, gradients) = sides
    assert expected.abs().mean() > 0.05
    assert (ours - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert set(our_gradients) == set(gradients)
    largest = max(gradient.abs().max() for gradient in gradients.values())
    for name, gradient in gradients.items():
        difference = (our_gradients[name] - gradient).abs().max()
        assert difference <= 1e-5 * largest, name
        assert difference <= 1e-4 * gradient.abs().max(), name
        assert gradient.abs().max() > 1e-3 * largest, name


def test_the_time_can_be_one_for_all_frames():
    """diffusers also takes one time per video: the same as that time for each of its frames."""
    own = randomised(DiT(TINY))
    given = inputs(TINY, size=(2, 4, 6))
    given["timestep"] = given["timestep"][:, :1].expand(-1, 2)
    with torch.no_grad():
        expected = reference(own)(
            hidden_states=given["latent"],
            timestep=given["timestep"][:, 0] * 1e-3,
            encoder_hidden_states=given["context"],
            condition_mask=given["condition_mask"],
            padding_mask=torch.zeros(1, 1, 4, 6),
            return_dict=False,
        )[0]
        assert (own(**given) - expected).abs().max() <= 1e-5 * expected.abs().max()
