from dataclasses import replace

import pytest
import torch
from tiny_dit import TINY, inputs, output, randomised

from cosmos_sim.world_model.dit import PRESETS, DiT, DiTConfig, preset
from cosmos_sim.world_model.embedders import patchify, unpatchify


def released_shapes(d: int, blocks: int, *, action: int | None = None) -> dict[str, tuple[int, ...]]:
    """Names and shapes of NVIDIA's state dicts after ``net.``, without the constant ``pos_embedder.*``."""
    shapes: dict[str, tuple[int, ...]] = {
        "x_embedder.proj.1.weight": (d, 72),
        "t_embedder.1.linear_1.weight": (d, d),
        "t_embedder.1.linear_2.weight": (3 * d, d),
        "t_embedding_norm.weight": (d,),
        "crossattn_proj.0.weight": (1024, 100352),
        "crossattn_proj.0.bias": (1024,),
        "final_layer.linear.weight": (64, d),
        "final_layer.adaln_modulation.1.weight": (256, d),
        "final_layer.adaln_modulation.2.weight": (2 * d, 256),
    }
    for i in range(blocks):
        for part, context in (("self_attn", d), ("cross_attn", 1024)):
            for name, inner in (("q_proj", d), ("k_proj", context), ("v_proj", context), ("output_proj", d)):
                shapes[f"blocks.{i}.{part}.{name}.weight"] = (d, inner)
            for name in ("q_norm", "k_norm"):
                shapes[f"blocks.{i}.{part}.{name}.weight"] = (128,)
        for part in ("self_attn", "cross_attn", "mlp"):
            shapes[f"blocks.{i}.adaln_modulation_{part}.1.weight"] = (256, d)
            shapes[f"blocks.{i}.adaln_modulation_{part}.2.weight"] = (3 * d, 256)
        shapes[f"blocks.{i}.mlp.layer1.weight"] = (4 * d, d)
        shapes[f"blocks.{i}.mlp.layer2.weight"] = (d, 4 * d)
    if action is not None:
        for name, width in (("B_D", d), ("B_3D", 3 * d)):
            shapes[f"action_embedder_{name}.fc1.weight"] = (4 * d, action)
            shapes[f"action_embedder_{name}.fc1.bias"] = (4 * d,)
            shapes[f"action_embedder_{name}.fc2.weight"] = (width, 4 * d)
            shapes[f"action_embedder_{name}.fc2.bias"] = (width,)
    return shapes


@pytest.mark.parametrize(
    ("name", "parameters", "shapes"),
    [
        ("predict2.5-2b", 2.059e9, released_shapes(2048, 28)),
        ("predict2.5-2b-paper", 2.336e9, released_shapes(2048, 32)),
        ("predict2.5-14b", 14.37e9, released_shapes(5120, 36)),
        ("predict2.5-2b-action", 2.127e9, released_shapes(2048, 28, action=28)),
    ],
)
def test_presets_have_the_released_names_shapes_and_sizes(name: str, parameters: float, shapes: dict):
    with torch.device("meta"):
        model = DiT(preset(name))
    assert {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()} == shapes
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(parameters, rel=5e-4)


def test_an_unknown_preset_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"'predict2.5_2b'; did you mean 'predict2.5-2b'"):
        preset("predict2.5_2b")
    with pytest.raises(ValueError, match=r"choose from .*predict2.5-14b"):
        preset("?")
    assert preset("predict2.5-14b") is PRESETS["predict2.5-14b"]


def test_patches_are_ordered_as_released():
    """In: channel slowest. Out: channel fastest, then time, then column, then row."""
    x = torch.arange(2 * 2 * 4 * 6).reshape(1, 2, 2, 4, 6)
    patches = patchify(x, (2, 2, 3))
    assert patches.shape == (1, 1, 2, 2, 24)
    assert patches[0, 0, 1, 1, :3].tolist() == x[0, 0, 0, 2, 3:6].tolist()
    assert patches[0, 0, 1, 1, 12].item() == x[0, 1, 0, 2, 3].item()
    video = unpatchify(patches, (2, 2, 3))
    assert video.shape == x.shape
    assert video[0, 1, 0, 0, 0].item() == patches[0, 0, 0, 0, 1].item()
    assert video[0, 0, 1, 0, 0].item() == patches[0, 0, 0, 0, 2].item()
    assert video[0, 0, 0, 0, 1].item() == patches[0, 0, 0, 0, 4].item()


@pytest.mark.parametrize("injection", [None, "timestep", "cross_attention", "channels"])
def test_from_the_meta_device_every_parameter_is_initialised(injection: str | None):
    action = {} if injection is None else {"action_dim": 6, "action_injection": injection}
    with torch.device("meta"):
        model = DiT(replace(TINY, **action))
    model.to_empty(device="cpu")
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, float("nan"))
    model.reset_parameters()
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert model.blocks[0].adaln_modulation_mlp[2].weight.abs().max() == 0
    weight = model.blocks[0].mlp.layer2.weight
    assert weight.std().item() == pytest.approx(weight.shape[1] ** -0.5, rel=0.1)
    assert weight.abs().max() <= 3 * weight.shape[1] ** -0.5


def test_bf16_keeps_modulations_in_fp32_and_stays_near_fp32():
    model = randomised(DiT(replace(TINY, action_dim=6)))
    given = inputs(model.config)
    exact = output(model, **given)
    model.cast(torch.bfloat16)
    close = output(model, **given)
    assert close.dtype == torch.float32
    low = {name for name, p in model.named_parameters() if p.dtype == torch.bfloat16}
    parts = ("x_embedder", "crossattn_proj", "self_attn.", "cross_attn.", "mlp.")
    assert low == {
        name
        for name, _ in model.named_parameters()
        if name.startswith(parts[:2]) or (name.startswith("blocks") and name.split(".", 2)[2].startswith(parts[2:]))
    }
    error = (close - exact).norm() / exact.norm()
    assert 0 < error < 0.05


def test_causally_no_frame_sees_a_later_one():
    config = replace(TINY, causal=True)
    model = randomised(DiT(config))
    given = inputs(config, size=(4, 4, 6), known=1)
    given["latent"].requires_grad_()
    out = model(**given)
    for frame in range(4):
        (gradient,) = torch.autograd.grad(out[:, :, frame].sum(), given["latent"], retain_graph=True)
        reached = gradient.abs().amax(dim=(0, 1, 3, 4)) > 0
        assert reached.tolist() == [True] * (frame + 1) + [False] * (3 - frame)
    free = DiT(TINY)
    free.load_state_dict(model.state_dict())
    free.eval()
    assert not torch.allclose(output(free, **given)[:, :, 0], out[:, :, 0], atol=1e-3)


def test_another_rotary_ratio_can_be_tried():
    model = randomised(DiT(TINY))
    given = inputs(TINY)
    other = randomised(DiT(replace(TINY, rope_ratio=(1.0, 50.0, 70.0))))
    expected = output(other, **given)
    assert torch.equal(output(model, **given, rope_ratio=(1.0, 50.0, 70.0)), expected)
    assert (output(model, **given) - expected).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent": torch.zeros(1, 5, 2, 4, 4)}, "5 channels"),
        ({"latent": torch.zeros(1, 4, 2, 4, 5)}, r"\(2, 4, 5\) does not divide .* \(2, 4, 4\) would"),
        ({"latent": torch.zeros(1, 4, 0, 4, 4)}, r"\(0, 4, 4\)"),
        ({"timestep": torch.zeros(1, 3)}, r"\(1, 3\)"),
        ({"condition_mask": torch.zeros(1, 2, 4, 4)}, r"condition_mask has shape \(1, 2, 4, 4\)"),
        ({"padding_mask": torch.zeros(1, 1, 4, 4)}, r"padding_mask has shape \(1, 1, 4, 4\)"),
        ({"context": None}, "context given: False"),
        ({"context": torch.zeros(1, 5, 20)}, r"\(1, 5, 20\)"),
        ({"context": torch.zeros(2, 5, 36)}, r"\(2, 5, 36\)"),
        ({"action": torch.zeros(1, 2, 6)}, "action given: True"),
    ],
)
def test_wrong_inputs_are_named(change: dict, message: str):
    given = {
        "latent": torch.zeros(1, 4, 2, 4, 4),
        "timestep": torch.zeros(1, 2),
        "condition_mask": torch.zeros(1, 1, 2, 4, 4),
        "context": torch.zeros(1, 5, 36),
    } | change
    with pytest.raises(ValueError, match=message):
        DiT(TINY)(**given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 5}, "num_heads=5"),
        ({"num_heads": 256}, "not 8"),
        ({"context_dim": None}, "context_in_dim"),
        ({"action_injection": "channels"}, "action_injection='channels' would be ignored"),
        ({"action_layout": "chunk"}, "action_layout='chunk' would be ignored"),
        ({"action_dim": 7, "action_injection": "timesteps"}, "not 'timesteps'"),
        ({"action_dim": 7, "action_layout": "frame"}, "not 'frame'"),
        ({"action_dim": 84, "action_layout": "chunk", "causal": True}, "cannot be causal"),
        (
            {"action_dim": 7, "action_injection": "cross_attention", "context_dim": None, "context_in_dim": None},
            "needs cross-attention",
        ),
    ],
)
def test_wrong_configs_are_named(options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        DiTConfig(**options)


def test_a_network_without_padding_channel_takes_no_padding():
    model = DiT(replace(TINY, padding_mask=False))
    with pytest.raises(ValueError, match="padding_mask would be ignored"):
        model(**inputs(model.config), padding_mask=torch.zeros(2, 1, 3, 4, 6))


def test_what_stays_in_fp32_is_not_rounded_on_the_way():
    network = DiT(
        DiTConfig(
            latent_channels=4,
            model_channels=24,
            num_heads=2,
            num_blocks=1,
            context_dim=None,
            context_in_dim=None,
            adaln_lora_dim=4,
        )
    )
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    after = network.cast(torch.bfloat16).state_dict()
    kept = [name for name, tensor in after.items() if tensor.dtype == torch.float32]
    assert {name.split(".")[0] for name in kept} == {"t_embedder", "t_embedding_norm", "blocks", "final_layer"}
    assert all(torch.equal(after[name], before[name]) for name in kept)
    assert after["blocks.0.mlp.layer1.weight"].dtype == torch.bfloat16
