import pytest
import torch
from diffusers import AutoencoderKLWan

from cosmos_sim.world_model.tokenizer import Tokenizer, TokenizerConfig, keep_last_tap, to_frames, to_model

TINY = TokenizerConfig(latent_channels=6, patch=2, encoder_width=8, decoder_width=12, multipliers=(1, 2))


def test_single_frames_need_only_the_last_tap():
    torch.manual_seed(0)
    vae = AutoencoderKLWan(
        base_dim=8, z_dim=4, dim_mult=[1, 2], num_res_blocks=1, temperal_downsample=[False],
        latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
    ).eval()  # fmt: skip
    image = torch.randn(2, 3, 1, 16, 24)
    with torch.no_grad():
        latent = vae.encode(image).latent_dist.mean
        decoded = vae.decode(latent).sample
        keep_last_tap(vae)
        torch.testing.assert_close(vae.encode(image).latent_dist.mean, latent)
        torch.testing.assert_close(vae.decode(latent).sample, decoded)


def test_shapes_and_statistics():
    torch.manual_seed(0)
    plain = Tokenizer(TINY).eval()
    shifted = Tokenizer(
        TokenizerConfig(**{**vars(TINY), "latents_mean": (1.0,) * 6, "latents_std": (1, 2, 3, 4, 5, 6)})
    ).eval()
    shifted.load_state_dict(plain.state_dict())
    frames = torch.randint(0, 256, (2, 3, 16, 24, 3), dtype=torch.uint8)
    with torch.no_grad():
        latent = plain.encode(frames)
        assert latent.shape == (2, 6, 3, 4, 6)
        other = shifted.encode(frames)
        torch.testing.assert_close(other[:, 5] * 6 + 1, latent[:, 5])
        assert plain.decode(latent).shape == frames.shape
        assert (plain.decode(latent).int() - shifted.decode(other).int()).abs().max() <= 1
        torch.testing.assert_close(plain.encode(frames[1:, 2:]), latent[1:, :, 2:])


def test_pixels_are_those_of_diffusers_but_for_the_clamp():
    torch.manual_seed(0)
    tokenizer = Tokenizer(TINY).eval()
    latent = torch.randn(2, 6, 1, 4, 6)
    with torch.no_grad():
        tokenizer.vae.decoder.conv_out.weight.mul_(20)
        free, clamped = tokenizer.pixels(latent), tokenizer.vae.decode(latent).sample
    assert free.abs().max() > 1
    torch.testing.assert_close(free.clamp(-1, 1), clamped)


def test_pixels_survive_the_way_in_and_out():
    frames = torch.arange(256, dtype=torch.uint8).repeat(3, 1).T.reshape(1, 1, 16, 16, 3).contiguous()
    pixels = to_model(frames)
    assert pixels.shape == (1, 3, 1, 16, 16)
    assert pixels.min() == -1
    assert pixels.max() == 1
    assert torch.equal(to_frames(pixels), frames)


def test_wrong_sizes_are_named():
    with pytest.raises(ValueError, match="30x24"):
        Tokenizer(TINY).latent_size(30, 24)
    with pytest.raises(ValueError, match="latents_mean has 2"):
        TokenizerConfig(latents_mean=(0.0, 1.0))
