"""Control branches against diffusers' CosmosControlNetModel beside its transformer, with the same random weights."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from diffusers import CosmosControlNetModel
from diffusers_dit import diffusers_name
from diffusers_dit import reference as transformer_of
from tiny_control import control_inputs, controlled
from tiny_dit import TINY

from cosmos_sim.world_model.control import Control, ControlConfig, ControlledDiT
from cosmos_sim.world_model.dit import DiTConfig

DEEP = replace(TINY, num_blocks=7)


@dataclass(frozen=True)
class Case:
    base: DiTConfig = TINY
    config: ControlConfig | None = None
    weights: dict[str, float] = field(default_factory=lambda: {"edge": 1.0})
    shape: dict[str, Any] = field(default_factory=dict)
    image: int = 0
    """Tokens of the style image."""
    padded: bool = False


CASES = {
    "every block": Case(config=ControlConfig(blocks=3, every=1, channels=6)),
    "blocks 0, 2, 4, 6, zero channels between": Case(
        DEEP, ControlConfig(blocks=4, every=2, channels=11), {"edge": 0.7}, {"size": (2, 6, 4), "known": 0}
    ),
    "two blocks of seven, padded pixels": Case(
        DEEP, ControlConfig(blocks=2, every=4, channels=6), {"depth": 1.3}, {"b": 1, "known": 2}, padded=True
    ),
    "text as it is": Case(replace(TINY, context_in_dim=None, rope_ratio=(1.5, 3.0, 2.0)), shape={"size": (1, 4, 10)}),
    "other patches, heads and widths": Case(
        replace(TINY, patch=(1, 3, 1), num_heads=2, model_channels=52, mlp_ratio=3.0), shape={"size": (4, 9, 5)}
    ),
    "style image": Case(replace(TINY, image_dim=14), weights={"seg": 0.8}, image=5),
    "style image absent": Case(replace(TINY, image_dim=14, context_in_dim=None), ControlConfig(2, 2, 6)),
    "three at once": Case(weights={"seg": 0.4, "edge": 1.0, "blur": 0.3}, shape={"size": (2, 4, 6)}),
    "two at once with a style image": Case(replace(TINY, image_dim=9), weights={"depth": 0.6, "seg": 0.5}, image=3),
}


def control_name(name: str) -> str:
    """diffusers' name of a weight of a branch, or of a copy of the transformer's beside it."""
    name = diffusers_name(name.replace("x_embedder", "base_embedder").replace("control_embedder", "embedder"))
    for ours, theirs in (
        ("base_embedder.proj.1", "patch_embed_base.proj"),
        ("embedder.proj.1", "patch_embed.proj"),
        ("control_transformer_blocks", "control_blocks"),
    ):
        name = name.replace(ours, theirs)
    return name


def control_network_of(own: ControlledDiT, kind: str) -> CosmosControlNetModel:
    base, branch = own.base.config, own.branches[kind]
    model = CosmosControlNetModel(
        n_controlnet_blocks=branch.config.blocks,
        in_channels=branch.config.channels,
        latent_channels=base.in_channels,
        model_channels=base.model_channels,
        num_attention_heads=base.num_heads,
        attention_head_dim=base.head_dim,
        mlp_ratio=base.mlp_ratio,
        text_embed_dim=base.context_dim,
        adaln_lora_dim=base.adaln_lora_dim,
        patch_size=base.patch,
        max_size=(16, 64, 64),
        rope_scale=base.rope_ratio,
        img_context_dim_in=base.image_dim,
        img_context_dim_out=base.model_channels,
        use_crossattn_projection=base.context_in_dim is not None,
        crossattn_proj_in_channels=base.context_in_dim or 1,
        encoder_hidden_states_channels=base.context_dim,
    )
    copies = {n: t for n, t in own.base.state_dict().items() if not n.startswith(("blocks.", "final_layer."))}
    state = {control_name(name): tensor for name, tensor in (copies | branch.state_dict()).items()}
    model.load_state_dict(state, strict=True)
    return model.eval()


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_are_those_of_diffusers(name: str):
    """fp32: no difference exceeds 1e-5 of the largest output, nor of a branch's largest gradient."""
    case = CASES[name]
    own = controlled(case.base, *case.weights, config=case.config)
    theirs = {kind: control_network_of(own, kind) for kind in case.weights}
    transformer = transformer_of(own.base).requires_grad_(False)
    every = next(iter(own.branches.values())).config.every
    transformer.register_to_config(controlnet_block_every_n=every)

    given = control_inputs(case.base, *case.weights, **case.shape)
    controls = {kind: Control(c.latent, case.weights[kind]) for kind, c in given.pop("controls").items()}
    b, t, h, w = (given["latent"].shape[i] for i in (0, 2, 3, 4))
    padding = torch.zeros(1, 1, h, w)
    if case.padded:
        padding[..., -2:] = 1
        given["padding_mask"] = padding[:, :, None].expand(b, 1, t, h, w)
    image = None
    if case.base.image_dim is not None:
        image = torch.zeros(b, 4, case.base.image_dim)
        if case.image:
            image = torch.randn(b, case.image, case.base.image_dim, generator=torch.Generator().manual_seed(9))
            given["image_context"] = image
    out = own(**given, controls=controls)

    told = {
        "timestep": given["timestep"][:, None, :, None, None] * 1e-3,
        "encoder_hidden_states": given["context"] if image is None else (given["context"], image),
        "condition_mask": given["condition_mask"],
        "padding_mask": padding,
        "return_dict": False,
    }
    samples = [
        network(
            controls_latents=controls[k].latent, latents=given["latent"], conditioning_scale=case.weights[k], **told
        )
        for k, network in theirs.items()
    ]
    hints = [sum(hint) for hint in zip(*(sample[0] for sample in samples), strict=True)]
    expected = transformer(hidden_states=given["latent"], block_controlnet_hidden_states=hints, **told)[0]

    with torch.no_grad():
        alone = own(**given, controls={})
    assert (out - alone).abs().max() > 0.1 * alone.abs().max(), "the controls do nothing"
    assert (out - expected).abs().max() <= 1e-5 * expected.abs().max()
    seed = torch.linspace(-1, 1, out.numel()).view_as(out)
    (out * seed).sum().backward()
    (expected * seed).sum().backward()
    assert all(parameter.grad is None for parameter in own.base.parameters())
    for kind, network in theirs.items():
        gradients = {
            n: p.grad for n, p in network.named_parameters() if n.startswith(("control_blocks", "patch_embed."))
        }
        largest = max(gradient.abs().max() for gradient in gradients.values())
        found = {control_name(n): p.grad for n, p in own.branches[kind].named_parameters()}
        assert set(found) == set(gradients)
        for weight, gradient in gradients.items():
            assert (found[weight] - gradient).abs().max() <= 1e-5 * largest, weight
            assert gradient.abs().max() > 1e-4 * largest or "_img" in weight, weight
