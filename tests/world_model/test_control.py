"""Control branches: silent until trained or weighed, what weights and maps do, and how a sampler calls them."""

from dataclasses import replace

import pytest
import torch
from tiny_control import control_inputs, controlled
from tiny_dit import TINY, inputs, randomised

from cosmos_sim.world_model.control import KINDS, Control, ControlBranch, ControlConfig, ControlledDiT
from cosmos_sim.world_model.denoise import SamplingConfig, denoise
from cosmos_sim.world_model.dit import PRESETS, DiT, DiTConfig
from cosmos_sim.world_model.first_block import FirstBlockCache

CAUSAL = replace(
    TINY, causal=True, action_dim=3, action_injection="cross_attention", padding_mask=False, context_in_dim=None
)
ACTIONS = replace(TINY, action_dim=5, action_injection="channels", context_dim=None, context_in_dim=None)
CONFIGS = {"text": TINY, "causal, actions as tokens": CAUSAL, "actions as channels": ACTIONS}


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("name", CONFIGS)
def test_a_new_branch_changes_nothing_and_neither_does_one_without_weight(name: str):
    config = CONFIGS[name]
    dit = randomised(DiT(config))
    given = control_inputs(config, "edge", "seg")
    latents = {kind: control.latent for kind, control in given.pop("controls").items()}
    expected = dit(**given)
    new = ControlledDiT(dit, {kind: ControlBranch.beside(dit) for kind in latents})
    silent = {kind: Control(latent) for kind, latent in latents.items()}
    assert torch.equal(new(**given, controls=silent), expected)

    own = ControlledDiT(dit, {kind: randomised(ControlBranch.beside(dit)) for kind in latents})
    loud = own(**given, controls=silent)
    assert (loud - expected).abs().max() > 0.1 * expected.abs().max()
    nowhere = torch.zeros(2, 3, 2, 3)
    for controls in (
        {},
        {"edge": Control(latents["edge"], 0.0)},
        {"edge": Control(latents["edge"], 1.0, nowhere)},
        {"edge": Control(latents["edge"], 0.0), "seg": Control(latents["seg"], 2.0, nowhere)},
    ):
        assert torch.equal(own(**given, controls=controls), expected)


def test_a_branch_begins_as_the_first_blocks():
    dit = randomised(DiT(replace(TINY, num_blocks=5)))
    branch = ControlBranch.beside(dit, ControlConfig(blocks=2, every=3, channels=9))
    base, own = dit.state_dict(), branch.state_dict()
    copies = {name for name in own if name.removeprefix("control_") in base}
    for name in copies:
        assert torch.equal(own[name], base[name.removeprefix("control_")]), name
    rest = {name for name in own if name not in copies}
    assert rest == {"control_embedder.proj.1.weight"} | {
        f"control_blocks.{i}.{part}.{leaf}"
        for i, part in ((0, "before_proj"), (0, "after_proj"), (1, "after_proj"))
        for leaf in ("weight", "bias")
    }
    assert own["control_embedder.proj.1.weight"].shape == (48, 9 * 4)
    assert all(not own[name].any() for name in rest if "_proj." in name)
    branch.control_blocks[0].mlp.layer1.weight.zero_()
    assert dit.blocks[0].mlp.layer1.weight.any(), "the copy shares memory"


def test_the_released_sizes():
    """2B: 4 blocks beside 0, 7, 14, 21; 0.299e9 parameters, as published; 14B: every ninth of 36."""
    base = PRESETS["predict2.5-2b"]
    assert list(ControlConfig().places) == [0, 7, 14, 21]
    with torch.device("meta"):
        branch = ControlBranch(base, ControlConfig())
    assert branch.control_embedder.proj[1].weight.shape == (2048, 520)
    assert sum(parameter.numel() for parameter in branch.parameters()) == pytest.approx(0.299e9, rel=0.002)
    assert ControlConfig.beside(base) == ControlConfig(channels=18)
    assert list(ControlConfig.beside(PRESETS["predict2.5-14b"]).places) == [0, 9, 18, 27]
    assert list(ControlConfig.beside(replace(TINY, num_blocks=6)).places) == [0, 2, 4]


def test_only_branches_are_trained():
    own = controlled(TINY, "edge")
    assert {name.split(".")[0] for name, parameter in own.named_parameters() if parameter.requires_grad} == {"branches"}
    with torch.enable_grad():
        own(**control_inputs(TINY, "edge")).square().sum().backward()
    for name, parameter in own.named_parameters():
        assert (parameter.grad is not None) == name.startswith("branches.edge"), name


def test_weights_scale_hints_and_controls_add_up():
    """One hint, to the last block: what the final layer is given is linear in the weights."""
    config = replace(TINY, num_blocks=1)
    own = controlled(config, "edge", "seg", config=ControlConfig(blocks=1, every=1, channels=6))
    given = control_inputs(config, "edge", "seg")
    controls = given.pop("controls")
    seen: list[torch.Tensor] = []
    own.base.final_layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))

    def added(**weights: float) -> torch.Tensor:
        own(**given, controls={kind: replace(controls[kind], weight=weight) for kind, weight in weights.items()})
        own(**given, controls={})
        return seen[-2] - seen[-1]

    edge, seg = added(edge=1.0), added(seg=1.0)
    assert (edge - seg).abs().max() > 0.1
    torch.testing.assert_close(added(edge=0.3), 0.3 * edge, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(added(edge=2.0, seg=0.5), 2 * edge + 0.5 * seg, atol=1e-4, rtol=1e-5)


def test_maps_act_where_they_are_and_their_sum_is_capped():
    config = replace(TINY, num_blocks=1)
    own = controlled(config, "edge", "seg", config=ControlConfig(blocks=1, every=1, channels=6))
    given = control_inputs(config, "edge", "seg")
    controls = given.pop("controls")
    seen: list[torch.Tensor] = []
    own.base.final_layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))

    def given_to_the_last_layer(controls: dict[str, Control]) -> torch.Tensor:
        own(**given, controls=controls)
        return seen[-1]

    none = given_to_the_last_layer({})
    edge, seg = (given_to_the_last_layer({kind: controls[kind]}) - none for kind in ("edge", "seg"))
    where = torch.rand(2, 3, 2, 3, generator=torch.Generator().manual_seed(3))
    where[1, 2, 0] = 0
    for weight, other, cap in ((0.5, 0.2, False), (1.0, 0.9, True)):
        mixed = {
            "edge": replace(controls["edge"], weight=weight, weight_map=where),
            "seg": replace(controls["seg"], weight=other),
        }
        total = (weight * where + other).clamp_min(1) if cap else torch.ones_like(where)
        expected = none + ((weight * where / total)[..., None] * edge + (other / total)[..., None] * seg)
        torch.testing.assert_close(given_to_the_last_layer(mixed), expected, atol=1e-4, rtol=1e-5)
    alone = given_to_the_last_layer({"edge": replace(controls["edge"], weight_map=where)})
    assert torch.equal(alone[1, 2, 0], none[1, 2, 0])
    assert not torch.equal(alone[1, 2, 1], none[1, 2, 1])


@pytest.mark.parametrize("image", [False, True])
def test_text_can_be_encoded_once(image: bool):
    config = replace(TINY, image_dim=8) if image else TINY
    own = controlled(config, *KINDS)
    given = control_inputs(config, "seg", "edge")
    if image:
        given["image_context"] = torch.randn(2, 3, 8)
    expected = own(**given)
    encoded = own.encode_context(given.pop("context"), given.pop("image_context", None), kinds=("edge", "seg"))
    assert len(encoded) == 3 * 3
    assert torch.equal(own(**given, context=encoded), expected)


def test_samplers_call_it_with_the_controls_bound():
    """Guidance in one batch and in two passes leads to the same video, which the control decides."""
    own = controlled(replace(TINY, image_dim=8), "edge", "depth")
    given = control_inputs(TINY, "edge", b=1)
    image = torch.randn(1, 3, 8)
    where = torch.rand(1, 3, 2, 3)
    noise = torch.randn(1, 4, 3, 4, 6, generator=torch.Generator().manual_seed(2))
    found = []
    for batched in (True, False):
        for control in (Control(given["controls"]["edge"].latent, 0.5, where), None):
            network = own.bound({} if control is None else {"edge": control}, image_context=image)
            sampling = SamplingConfig(steps=3, guidance=2.0, batched_guidance=batched)
            found.append(denoise(network, noise, sampling, context=given["context"], known=given["latent"][:, :, :1]))
    together, alone, apart, _ = found
    torch.testing.assert_close(together, apart, atol=1e-4, rtol=1e-4)
    assert (together - alone)[:, :, 1:].abs().max() > 0.05


def test_bound_controls_weigh_what_they_weigh_unbound():
    """A control whose map is empty in a chunk goes; the other, above 1, stays capped as it is beside a map."""
    own = controlled(TINY, "edge", "seg")
    given = control_inputs(TINY, "edge", "seg")
    controls = given.pop("controls")
    controls = {
        "edge": replace(controls["edge"], weight=2.0),
        "seg": replace(controls["seg"], weight_map=torch.zeros(2, 3, 2, 3)),
    }
    expected = own(**given, controls=controls)
    context = given.pop("context")
    network = own.bound(controls)
    torch.testing.assert_close(network(**given, context=network.encode_context(context)), expected)
    assert list(network.controls) == ["edge"]


def test_guidance_leads_towards_the_style_too():
    """The second pass may be without the image: one step of Euler's rule from the noise, by the formula."""
    own = controlled(replace(TINY, image_dim=8), "edge")
    given = control_inputs(TINY, "edge", b=1)
    image = torch.randn(1, 3, 8)
    styled, plain = own.bound(given["controls"], image_context=image), own.bound(given["controls"])
    noise = torch.randn(1, 4, 3, 4, 6, generator=torch.Generator().manual_seed(2))
    sampling = SamplingConfig(steps=1, solver="euler", guidance=2.0)
    (start, _) = sampling.times()
    found = denoise(styled, noise, sampling, context=given["context"], opposite=plain)
    told = (noise, noise.new_full((1, 3), sampling.timestep(start)), torch.zeros(1, 1, 3, 4, 6))
    zeros = torch.zeros_like(given["context"])
    with_style = own(*told, controls=given["controls"], context=given["context"], image_context=image)
    without = own(*told, controls=given["controls"], context=zeros)
    expected = noise - start * (with_style + 2 * (with_style - without))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert (denoise(styled, noise, sampling, context=given["context"]) - expected).abs().max() > 0.1
    for change in ({"guidance": 0.0}, {"batched_guidance": True}):
        with pytest.raises(ValueError, match="opposite network would be ignored"):
            denoise(styled, noise, replace(sampling, **change), context=given["context"], opposite=plain)


def test_fused_cached_and_in_bf16():
    given = control_inputs(TINY, "edge", "blur")
    own = controlled(TINY, "edge", "blur")
    names = set(own.state_dict())
    expected = own(**given)
    assert torch.equal(own(**given, first_block_cache=FirstBlockCache(0.0)), expected)
    eager = FirstBlockCache(0.99)
    own(**given, first_block_cache=eager)
    own(**given | {"timestep": given["timestep"] + 1e-3}, first_block_cache=eager)
    assert eager.reused == 1
    fused = own.fuse()(**given)
    torch.testing.assert_close(fused, expected, atol=1e-5, rtol=1e-4)
    assert set(own.state_dict()) == names
    half = controlled(TINY, "edge", "blur").cast(torch.bfloat16)
    for name, parameter in half.branches.named_parameters():
        assert parameter.dtype == (torch.float32 if "adaln_modulation" in name else torch.bfloat16), name
    assert (half(**given) - expected).abs().max() < 0.1 * expected.abs().max()


def test_a_branch_beside_a_fused_transformer():
    dit = randomised(DiT(TINY))
    plain, fused = ControlBranch.beside(dit), ControlBranch.beside(dit.fuse())
    for name, tensor in plain.state_dict().items():
        if name != "control_embedder.proj.1.weight":
            assert torch.equal(fused.state_dict()[name], tensor), name


def test_refusals():
    own = controlled(TINY, "edge", "blur")
    given = control_inputs(TINY, "edge")
    latent = given.pop("controls")["edge"].latent
    for controls, message in (
        ({"egde": Control(latent)}, "no branch for the control 'egde'; did you mean 'edge'"),
        ({"seg": Control(latent)}, r"no branch for the control 'seg'; there are \['edge', 'blur'\]"),
        ({"edge": Control(latent[:, :, :2])}, r"edge control has shape \(2, 4, 2, 4, 6\)"),
        ({"edge": Control(latent.repeat(1, 2, 1, 1, 1))}, "up to 4"),
        ({"edge": Control(latent, 1.0, torch.ones(2, 3, 4, 6))}, r"weight map of edge has shape \(2, 3, 4, 6\)"),
    ):
        with pytest.raises(ValueError, match=message):
            own(**given, controls=controls)
    with pytest.raises(ValueError, match="no branch for the control 'seg'"):
        own.bound({"seg": Control(latent)})
    with pytest.raises(ValueError, match="a batch of 3 is no multiple of the control's 2"):
        own.bound({"edge": Control(latent)})(**{k: v[:1].repeat(3, *[1] * (v.ndim - 1)) for k, v in given.items()})
    with pytest.raises(ValueError, match=r"not -0\.5"):
        Control(latent, -0.5)
    with pytest.raises(ValueError, match="map must be finite"):
        Control(latent, 1.0, torch.full((2, 3, 2, 3), torch.nan))
    with pytest.raises(ValueError, match=r"a hint for block 4, but the transformer has 3"):
        ControlBranch(TINY, ControlConfig(blocks=3, every=2, channels=6))
    with pytest.raises(ValueError, match="channels=5 do not hold 4"):
        ControlBranch(TINY, ControlConfig(blocks=1, every=1, channels=5))
    with pytest.raises(ValueError, match="every must be at least 1, not 0"):
        ControlConfig(every=0)
    with pytest.raises(ValueError, match="blocks must be at least 1, not 0"):
        ControlConfig.beside(TINY, blocks=0)
    other: DiTConfig = replace(TINY, num_blocks=2)
    with pytest.raises(ValueError, match=r"the edge branch is for a transformer of num_blocks=2, this one has 3"):
        ControlledDiT(DiT(TINY), {"edge": ControlBranch(other, ControlConfig.beside(other))})
    with pytest.raises(ValueError, match="image_context would be ignored"):
        own(**given, controls={}, image_context=torch.zeros(2, 1, 8))
    with pytest.raises(ValueError, match=r"image_dim=4 needs cross-attention"):
        replace(ACTIONS, image_dim=4)
    styled = DiT(replace(TINY, image_dim=8))
    with pytest.raises(ValueError, match=r"image_context has shape \(2, 3, 7\), expected \(2, 'any', 8\)"):
        styled(**inputs(TINY), image_context=torch.zeros(2, 3, 7))
