"""diffusers itself loads what is converted for it, and computes the same."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import CosmosTransformer3DModel
from tiny_networks import BASE, CONFIGS, network, nvidia_state, same, stored

from cosmos_sim.world_model.checkpoints.convert import Options, convert
from cosmos_sim.world_model.checkpoints.infer import expected_shapes, infer_config
from cosmos_sim.world_model.checkpoints.load import load_dit
from cosmos_sim.world_model.checkpoints.names import diffusers_module
from cosmos_sim.world_model.checkpoints.network import diffusers_config
from cosmos_sim.world_model.dit import PRESETS


@pytest.mark.parametrize("kind", ["base", "no-projection"])
def test_diffusers_loads_a_converted_network_and_computes_the_same(kind: str, tmp_path: Path):
    config = CONFIGS[kind]
    own = network(config)
    torch.save(nvidia_state(own), tmp_path / "a.pt")
    convert(tmp_path / "a.pt", tmp_path / "pipeline", to="diffusers", options=Options(max_shard=50_000))
    reference = CosmosTransformer3DModel.from_pretrained(tmp_path / "pipeline", subfolder="transformer").eval()
    loaded = load_dit(tmp_path / "pipeline", dtype=torch.float32).eval()

    torch.manual_seed(1)
    b, t, h, w = 2, 3, 4, 6
    latent, context = torch.randn(b, 4, t, h, w), torch.randn(b, 5, config.context_in_dim or 20)
    mask = torch.zeros(b, 1, t, h, w)
    mask[:, :, 0] = 1
    time = torch.tensor([[0.1, 700.0, 700.0], [0.1, 35.0, 35.0]])
    with torch.no_grad():
        ours, again = (model(latent, time, mask, context=context) for model in (own, loaded))
        theirs = reference(
            hidden_states=latent,
            timestep=(time * 1e-3)[:, None, :, None, None],
            encoder_hidden_states=context,
            condition_mask=mask,
            padding_mask=torch.zeros(1, 1, h, w),
            return_dict=False,
        )[0]
    assert theirs.abs().mean() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * theirs.abs().max().item())
    assert torch.equal(ours, again)


def test_what_diffusers_saves_is_read(tmp_path: Path):
    settings = {name: value for name, value in diffusers_config(BASE).items() if not name.startswith("_")}
    reference = CosmosTransformer3DModel(**settings)
    reference.save_pretrained(tmp_path / "theirs", max_shard_size="50KB")
    convert(tmp_path / "theirs", tmp_path / "a.pt", to="nvidia")
    convert(tmp_path / "a.pt", tmp_path / "pipeline", to="diffusers")
    again = CosmosTransformer3DModel.from_pretrained(tmp_path / "pipeline/transformer")
    same(again.state_dict(), reference.state_dict())


def test_a_config_that_contradicts_its_weights_is_refused(tmp_path: Path):
    torch.save(nvidia_state(network(BASE)), tmp_path / "a.pt")
    convert(tmp_path / "a.pt", tmp_path / "pipeline", to="diffusers")
    file = tmp_path / "pipeline/transformer/config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_attention_heads": 6}))
    with pytest.raises(ValueError, match="says num_attention_heads=6, its weights say 3"):
        load_dit(tmp_path / "pipeline")


def test_actions_do_not_vanish_silently(tmp_path: Path):
    own = network(CONFIGS["action"])
    torch.save(nvidia_state(own), tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"no place for 8 weights \(first: action_embedder_B_D"):
        convert(tmp_path / "a.pt", tmp_path / "pipeline", to="diffusers")
    assert not (tmp_path / "pipeline").exists()
    convert(tmp_path / "a.pt", tmp_path / "pipeline", to="diffusers", options=Options(keep_actions=True))
    CosmosTransformer3DModel.from_pretrained(tmp_path / "pipeline/transformer")
    same(stored(tmp_path / "pipeline")[1], own.state_dict())
    with pytest.raises(ValueError, match="keep_actions=True would be ignored"):
        convert(tmp_path / "a.pt", tmp_path / "ours", to="ours", options=Options(keep_actions=True))


@pytest.mark.parametrize("name", ["predict2.5-2b", "predict2.5-14b", "predict2.5-2b-action"])
def test_full_sizes_are_exactly_those_of_diffusers(name: str):
    config = PRESETS[name]
    ours = expected_shapes(config)
    assert infer_config(ours, where=name) == config
    with torch.device("meta"):
        settings = {key: value for key, value in diffusers_config(config).items() if not key.startswith("_")}
        theirs = {key: tuple(tensor.shape) for key, tensor in CosmosTransformer3DModel(**settings).state_dict().items()}
    mapped = {}
    for key, shape in ours.items():
        module, _, leaf = key.rpartition(".")
        if not key.startswith("action_embedder"):
            mapped[f"{diffusers_module(module)}.{leaf}"] = shape
    assert mapped == theirs
    assert len(mapped) == len(ours) - (8 if config.action_dim else 0)


def test_the_config_of_the_2b_is_the_published_one():
    """The values of diffusers' own conversion of Cosmos-2.5-Predict-Base-2B."""
    published = {
        "in_channels": 17,
        "out_channels": 16,
        "num_attention_heads": 16,
        "attention_head_dim": 128,
        "num_layers": 28,
        "mlp_ratio": 4.0,
        "text_embed_dim": 1024,
        "adaln_lora_dim": 256,
        "max_size": [128, 240, 240],
        "patch_size": [1, 2, 2],
        "rope_scale": [1.0, 3.0, 3.0],
        "concat_padding_mask": True,
        "extra_pos_embed_type": None,
        "use_crossattn_projection": True,
        "crossattn_proj_in_channels": 100352,
        "encoder_hidden_states_channels": 1024,
    }
    config = diffusers_config(PRESETS["predict2.5-2b"])
    assert {name: config[name] for name in published} == published
    large = diffusers_config(PRESETS["predict2.5-14b"])
    assert {name: (config[name], large[name]) for name in published if config[name] != large[name]} == {
        "num_attention_heads": (16, 40),
        "num_layers": (28, 36),
    }
