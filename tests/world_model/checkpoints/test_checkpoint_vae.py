"""The Wan2.1 VAE under Wan's own names and diffusers'."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan
from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers
from tiny_networks import same

from cosmos_sim.world_model.checkpoints.convert import Options, convert
from cosmos_sim.world_model.checkpoints.source import open_source
from cosmos_sim.world_model.checkpoints.vae import expected_vae, infer_vae, open_vae, to_diffusers, to_wan
from cosmos_sim.world_model.wan import WanTokenizer

TINY = {"base_dim": 4, "z_dim": 16, "dim_mult": [1, 2, 3], "num_res_blocks": 1, "temperal_downsample": [True, False]}


def vae(config: dict) -> AutoencoderKLWan:
    torch.manual_seed(0)
    return AutoencoderKLWan(**config).eval()


def test_a_vae_survives_both_formats_bit_for_bit(tmp_path: Path):
    reference = vae(TINY).bfloat16()
    reference.save_pretrained(tmp_path / "theirs/vae")
    convert(tmp_path / "theirs/vae", tmp_path / "tokenizer.pth", to="nvidia")
    convert(tmp_path / "tokenizer.pth", tmp_path / "again", to="diffusers", options=Options(max_shard=20_000))
    same(AutoencoderKLWan.from_pretrained(tmp_path / "again/vae").bfloat16().state_dict(), reference.state_dict())
    config, _ = open_vae(open_source(tmp_path / "again/vae"))
    assert {name: config[name] for name in TINY} == TINY


def test_the_tokenizer_loads_a_converted_pth_and_decodes_as_the_original(tmp_path: Path):
    reference = vae(TINY)
    reference.save_pretrained(tmp_path / "vae")
    convert(tmp_path / "vae", tmp_path / "tokenizer.pth", to="nvidia")
    convert(tmp_path / "tokenizer.pth", tmp_path / "pipeline", to="diffusers")
    loaded = WanTokenizer.from_pretrained(tmp_path / "pipeline")
    assert (loaded.temporal, loaded.spatial) == (2, 4)
    latent = torch.randn(1, 16, 2, 3, 4)
    with torch.no_grad():
        assert torch.equal(loaded.vae.decode(latent).sample, reference.decode(latent).sample)


def test_the_full_size_has_the_names_that_diffusers_converts():
    expected = expected_vae({})
    wan = {to_wan(name, 2): shape for name, shape in expected.items()}
    assert len(wan) == len(expected) == 194
    assert convert_wan_vae_to_diffusers(dict(wan)) == expected
    assert {to_diffusers(name, 2): shape for name, shape in wan.items()} == expected
    assert wan["decoder.upsamples.7.time_conv.weight"] == (768, 384, 3, 1, 1)
    assert wan["encoder.downsamples.3.shortcut.weight"] == (192, 96, 1, 1, 1)
    config = infer_vae(wan)
    assert (config["base_dim"], config["z_dim"], config["dim_mult"]) == (96, 16, [1, 2, 4, 4])
    assert (config["num_res_blocks"], config["temperal_downsample"]) == (2, [False, True, True])
    assert (config["scale_factor_temporal"], config["scale_factor_spatial"]) == (4, 8)


def test_wrong_vaes_are_refused(tmp_path: Path):
    reference = vae(TINY)
    state = {to_wan(name, 1): tensor for name, tensor in reference.state_dict().items()}
    torch.save({name: tensor for name, tensor in state.items() if name != "decoder.head.2.bias"}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a Wan2\.1 VAE: 1 weights missing \(first: \['decoder\.conv_out\.bias'\]\)"):
        convert(tmp_path / "a.pth", tmp_path / "out", to="diffusers")
    torch.save(state, tmp_path / "b.pth")
    with pytest.raises(ValueError, match="there is none called ours"):
        convert(tmp_path / "b.pth", tmp_path / "out", to="ours")
    with pytest.raises(ValueError, match="keep_actions=True would be ignored for a VAE"):
        convert(tmp_path / "b.pth", tmp_path / "out", to="diffusers", options=Options(keep_actions=True))
    assert not (tmp_path / "out").exists()
