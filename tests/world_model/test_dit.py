from dataclasses import replace

import pytest
import torch
from diffusers import CosmosTransformer3DModel

from cosmos_sim.world_model.dit import PRESETS, DiT, DiTConfig, patchify, unpatchify

TINY = DiTConfig(
    latent_channels=4,
    model_channels=48,
    num_blocks=3,
    num_heads=3,
    adaln_lora_dim=8,
    context_dim=20,
    context_in_dim=36,
    rope_ratio=(1.0, 2.0, 2.0),
)

DIFFUSERS_NAMES = (
    ("x_embedder.proj.1", "patch_embed.proj"),
    ("t_embedder.1", "time_embed.t_embedder"),
    ("t_embedding_norm", "time_embed.norm"),
    ("crossattn_proj.0", "crossattn_proj.0"),
    ("final_layer.adaln_modulation.1", "norm_out.linear_1"),
    ("final_layer.adaln_modulation.2", "norm_out.linear_2"),
    ("final_layer.linear", "proj_out"),
    ("adaln_modulation_self_attn.1", "norm1.linear_1"),
    ("adaln_modulation_self_attn.2", "norm1.linear_2"),
    ("adaln_modulation_cross_attn.1", "norm2.linear_1"),
    ("adaln_modulation_cross_attn.2", "norm2.linear_2"),
    ("adaln_modulation_mlp.1", "norm3.linear_1"),
    ("adaln_modulation_mlp.2", "norm3.linear_2"),
    ("self_attn", "attn1"),
    ("cross_attn", "attn2"),
    ("q_proj", "to_q"),
    ("k_proj", "to_k"),
    ("v_proj", "to_v"),
    ("output_proj", "to_out.0"),
    ("q_norm", "norm_q"),
    ("k_norm", "norm_k"),
    ("mlp.layer1", "ff.net.0.proj"),
    ("mlp.layer2", "ff.net.2"),
    ("blocks.", "transformer_blocks."),
)


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    """Every weight drawn anew, so that nothing is hidden by a zero."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.2 * torch.randn_like(parameter) + (1.0 if parameter.ndim == 1 else 0.0))
    return module


def test_equals_diffusers_with_the_same_weights():
    own = randomised(DiT(TINY)).eval()
    reference = CosmosTransformer3DModel(
        in_channels=TINY.latent_channels + 1,
        out_channels=TINY.latent_channels,
        num_attention_heads=TINY.num_heads,
        attention_head_dim=TINY.head_dim,
        num_layers=TINY.num_blocks,
        mlp_ratio=TINY.mlp_ratio,
        text_embed_dim=20,
        adaln_lora_dim=TINY.adaln_lora_dim,
        max_size=(8, 32, 32),
        patch_size=TINY.patch,
        rope_scale=TINY.rope_ratio,
        concat_padding_mask=True,
        extra_pos_embed_type=None,
        use_crossattn_projection=True,
        crossattn_proj_in_channels=36,
        encoder_hidden_states_channels=20,
    ).eval()
    weights = {}
    for name, tensor in own.state_dict().items():
        for ours, theirs in DIFFUSERS_NAMES:
            name = name.replace(ours, theirs)
        weights[name] = tensor
    missing = reference.load_state_dict(weights, strict=True)
    assert not missing.missing_keys

    torch.manual_seed(1)
    b, t, h, w = 2, 3, 4, 6
    latent, context = torch.randn(b, 4, t, h, w), torch.randn(b, 5, 36)
    mask = torch.zeros(b, 1, t, h, w)
    mask[:, :, 0] = 1
    time = torch.tensor([[0.1, 700.0, 700.0], [0.1, 35.0, 35.0]])
    with torch.no_grad():
        ours = own(latent, time, mask, context=context)
        theirs = reference(
            hidden_states=latent,
            timestep=(time * 1e-3)[:, None, :, None, None],
            encoder_hidden_states=context,
            condition_mask=mask,
            padding_mask=torch.zeros(1, 1, h, w),
            return_dict=False,
        )[0]
    assert theirs.abs().mean() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("predict2.5-2b", 2.059e9), ("predict2.5-2b-paper", 2.336e9), ("predict2.5-14b", 14.37e9)],
)
def test_full_sizes_have_the_published_parameter_counts(name: str, parameters: float):
    with torch.device("meta"):
        model = DiT(PRESETS[name])
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(parameters, rel=1e-3)


def test_the_released_checkpoint_has_these_shapes():
    with torch.device("meta"):
        shapes = {name: tuple(p.shape) for name, p in DiT(PRESETS["predict2.5-2b-action"]).named_parameters()}
    assert shapes["x_embedder.proj.1.weight"] == (2048, 72)
    assert shapes["t_embedder.1.linear_2.weight"] == (6144, 2048)
    assert shapes["crossattn_proj.0.weight"] == (1024, 100352)
    assert shapes["blocks.27.cross_attn.k_proj.weight"] == (2048, 1024)
    assert shapes["blocks.0.self_attn.q_norm.weight"] == (128,)
    assert shapes["blocks.3.adaln_modulation_mlp.2.weight"] == (6144, 256)
    assert shapes["final_layer.linear.weight"] == (64, 2048)
    assert shapes["final_layer.adaln_modulation.2.weight"] == (4096, 256)
    assert shapes["action_embedder_B_3D.fc2.weight"] == (6144, 8192)
    assert shapes["action_embedder_B_D.fc1.weight"] == (8192, 28)


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


def test_initially_blocks_and_actions_are_silent_and_everything_is_initialised():
    config = replace(TINY, action_dim=6)
    with torch.device("meta"):
        model = DiT(config)
    model.to_empty(device="cpu")
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, float("nan"))
    model.reset_parameters()
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert model.blocks[0].adaln_modulation_mlp[2].weight.abs().max() == 0
    weight = model.blocks[0].mlp.layer2.weight
    assert weight.std().item() == pytest.approx(weight.shape[1] ** -0.5, rel=0.1)
    assert weight.abs().max() <= 3 * weight.shape[1] ** -0.5
    latent, mask = torch.randn(1, 4, 2, 4, 4), torch.zeros(1, 1, 2, 4, 4)
    time, context = torch.full((1, 2), 500.0), torch.randn(1, 5, 36)
    a, b = (model(latent, time, mask, context=context, action=torch.full((1, 2, 6), v)) for v in (0.0, 3.0))
    torch.testing.assert_close(a, b)


def test_bf16_keeps_modulations_in_fp32_and_stays_near_fp32():
    model = randomised(DiT(replace(TINY, action_dim=6))).eval()
    torch.manual_seed(2)
    inputs = (torch.randn(1, 4, 2, 4, 4), torch.full((1, 2), 500.0), torch.zeros(1, 1, 2, 4, 4))
    context, action = torch.randn(1, 5, 36), torch.randn(1, 2, 6)
    with torch.no_grad():
        exact = model(*inputs, context=context, action=action)
        model.cast(torch.bfloat16)
        close = model(*inputs, context=context, action=action)
    assert close.dtype == torch.float32
    assert model.blocks[0].mlp.layer1.weight.dtype == torch.bfloat16
    assert model.blocks[0].adaln_modulation_mlp[1].weight.dtype == torch.float32
    assert model.final_layer.linear.weight.dtype == torch.float32
    error = (close - exact).norm() / exact.norm()
    assert 0 < error < 0.05


def test_actions_reach_only_the_frames_to_predict():
    """Known latents ignore their action, as released: the embedding is multiplied by 1 - condition mask."""
    model = randomised(DiT(replace(TINY, action_dim=6))).eval()
    latent, context = torch.randn(1, 4, 2, 4, 4), torch.randn(1, 5, 36)
    mask = torch.zeros(1, 1, 2, 4, 4)
    mask[:, :, 0] = 1
    time = torch.full((1, 2), 500.0)

    def out(first: float, second: float) -> torch.Tensor:
        action = torch.tensor([first, second])[None, :, None].expand(1, 2, 6)
        with torch.no_grad():
            return model(latent, time, mask, context=context, action=action)

    torch.testing.assert_close(out(0.0, 1.0), out(5.0, 1.0))
    assert not torch.allclose(out(0.0, 1.0), out(0.0, 2.0), atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent": torch.zeros(1, 5, 2, 4, 4)}, "5 channels"),
        ({"latent": torch.zeros(1, 4, 2, 4, 5)}, r"\(2, 4, 5\)"),
        ({"timestep": torch.zeros(1, 3)}, r"\(1, 3\)"),
        ({"context": None}, "context given: False"),
        ({"action": torch.zeros(1, 2, 6)}, "action given: True"),
    ],
)
def test_wrong_inputs_are_named(change: dict, message: str):
    inputs = {
        "latent": torch.zeros(1, 4, 2, 4, 4),
        "timestep": torch.zeros(1, 2),
        "condition_mask": torch.zeros(1, 1, 2, 4, 4),
        "context": torch.zeros(1, 5, 36),
        "action": None,
    } | change
    with pytest.raises(ValueError, match=message):
        DiT(TINY)(**inputs)


def test_wrong_configs_are_named():
    with pytest.raises(ValueError, match="num_heads=5"):
        DiTConfig(num_heads=5)
    with pytest.raises(ValueError, match="context_in_dim"):
        DiTConfig(context_dim=None)
