"""The full tokenizer against diffusers' own encode and decode, at tiny sizes with random weights."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from cosmos_sim.world_model.tiles import Tile, Tiling, blend, cut
from cosmos_sim.world_model.tokenizer import Tokenizer, TokenizerConfig, VideoTokenizer
from cosmos_sim.world_model.wan import WanConfig, WanTokenizer

TINY = WanConfig(
    width=6,
    latent_channels=4,
    multipliers=(1, 2, 2),
    num_res_blocks=1,
    temporal_downsample=(True, True),
    latents_mean=(0.1, -0.2, 0.3, -0.4),
    latents_std=(1.5, 0.5, 2.0, 0.8),
)


def tokenizer(config: WanConfig = TINY, *, tiling: Tiling | None = None, window: int = 1) -> WanTokenizer:
    """The same random weights every time."""
    torch.manual_seed(0)
    made = WanTokenizer(config, tiling=tiling, window=window)
    with torch.no_grad():
        for parameter in made.vae.parameters():
            parameter.mul_(1.5)
    return made


def video(t: int, h: int, w: int, *, b: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(t + h)
    return torch.randint(0, 256, (b, t, h, w, 3), dtype=torch.uint8, generator=generator)


def direct_encode(vae: AutoencoderKLWan, frames: Tensor, config: WanConfig = TINY) -> Tensor:
    """What diffusers' pipelines do with a video: pixels in [-1, 1], the posterior's mode, (x - mean) / std."""
    pixels = frames.permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    mode = vae.encode(pixels).latent_dist.mode()
    mean, std = (torch.tensor(x).view(1, -1, 1, 1, 1) for x in (config.latents_mean, config.latents_std))
    return (mode - mean) / std


def direct_decode(vae: AutoencoderKLWan, latent: Tensor, config: WanConfig = TINY) -> Tensor:
    """Decoded video in [-1, 1], clamped by diffusers."""
    mean, std = (torch.tensor(x).view(1, -1, 1, 1, 1) for x in (config.latents_mean, config.latents_std))
    return vae.decode(latent * std + mean).sample.permute(0, 2, 3, 4, 1)


@pytest.mark.parametrize("t", [1, 5, 13])
@pytest.mark.parametrize("window", [1, 2, 5])
def test_agrees_with_diffusers_in_every_window(t, window):
    made = tokenizer(window=window)
    frames = video(t, 16, 24, b=2)
    latent = made.encode(frames)
    assert latent.shape == (2, 4, 1 + (t - 1) // 4, 4, 6)
    assert latent.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(latent, direct_encode(made.vae, frames), atol=1e-5, rtol=1e-5)
        noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(1))
        expected = direct_decode(made.vae, noise)
    decoded = made.decode(noise)
    assert decoded.shape == frames.shape
    assert decoded.dtype == torch.uint8
    assert expected.std() > 0.05
    assert ((decoded.float() / 127.5 - 1) - expected).abs().max() < 0.5 / 127.5 + 1e-5


def test_pieces_of_any_length_make_the_same_stream():
    made = tokenizer(window=2)
    frames = video(21, 16, 24)
    whole = made.encode(frames)
    parts = list(made.encode_stream(frames.split([2, 3, 9, 7], dim=1)))
    assert [p.shape[2] for p in parts] == [1, 2, 2, 1]
    torch.testing.assert_close(torch.cat(parts, 2), whole)
    decoded = list(made.decode_stream(whole.split([3, 1, 2], dim=2)))
    assert [p.shape[1] for p in decoded] == [1, 8, 8, 4]
    assert torch.equal(torch.cat(decoded, 1), made.decode(whole))


def test_the_future_does_not_change_the_past():
    made = tokenizer()
    frames = video(13, 16, 24)
    torch.testing.assert_close(made.encode(frames[:, :9]), made.encode(frames)[:, :, :3])
    latent = made.encode(frames)
    assert torch.equal(made.decode(latent[:, :, :2]), made.decode(latent)[:, :5])


def test_streams_hold_one_window_of_frames():
    made = tokenizer()
    seen: list[int] = []

    def pieces():
        for k in range(4):
            seen.append(k)
            yield video(1 if k == 0 else 4, 8, 8)

    stream = made.encode_stream(pieces())
    for k in range(4):
        next(stream)
        assert seen == list(range(k + 1))


def test_memory_belongs_to_the_stream():
    made = tokenizer()
    a, b = made.encode_stream([video(5, 8, 16)]), made.encode_stream([video(5, 16, 8)])
    interleaved = [next(a), next(b), next(a), next(b)]
    torch.testing.assert_close(torch.cat(interleaved[::2], 2), made.encode(video(5, 8, 16)))
    torch.testing.assert_close(torch.cat(interleaved[1::2], 2), made.encode(video(5, 16, 8)))


def test_released_sizes():
    config = WanConfig()
    assert (config.temporal, config.spatial) == (4, 8)
    with torch.device("meta"):
        made = WanTokenizer(config)
        theirs = AutoencoderKLWan()
    assert made.latent_length(93) == 24
    assert made.latent_size(704, 1280) == (88, 160)
    assert {k: v.shape for k, v in made.vae.state_dict().items()} == {
        k: v.shape for k, v in theirs.state_dict().items()
    }
    assert list(config.latents_mean) == theirs.config.latents_mean
    assert list(config.latents_std) == theirs.config.latents_std


@pytest.mark.parametrize(("frames", "near"), [(92, "89 or 93"), (0, "1 or 5"), (4, "1 or 5")])
def test_frames_that_do_not_make_latents(frames, near):
    with pytest.raises(ValueError, match=rf"^{frames} frames do not make whole latents.*{near}"):
        tokenizer().encode(video(frames, 16, 16))


def test_wrong_sizes_and_types_are_named():
    made = tokenizer()
    with pytest.raises(ValueError, match="18x16 do not divide into latents of 4x4"):
        made.encode(video(5, 18, 16))
    with pytest.raises(ValueError, match="0x16"):
        made.latent_size(0, 16)
    with pytest.raises(ValueError, match=r"not torch\.float32"):
        made.encode(video(5, 16, 16).float())
    with pytest.raises(ValueError, match="b 4 l i j"):
        made.decode(torch.zeros(1, 5, 1, 4, 4))
    with pytest.raises(ValueError, match="ends 2 frames after"):
        list(made.encode_stream([video(5, 8, 8), video(2, 8, 8)]))
    with pytest.raises(ValueError, match="not 0"):
        WanTokenizer(TINY, window=0)
    with pytest.raises(ValueError, match="latents_std has 2 entries"):
        WanConfig(latents_std=(1.0, 2.0))
    with pytest.raises(ValueError, match="does not fit 4 levels"):
        WanConfig(temporal_downsample=(True,))


def test_bf16_is_near_fp32():
    frames = video(5, 16, 24)
    exact, rough = tokenizer(), tokenizer().cast(torch.bfloat16)
    latent = exact.encode(frames)
    cast = rough.encode(frames)
    assert cast.dtype == torch.float32
    assert 0 < (cast - latent).abs().max() < 0.05 * latent.abs().max()
    assert (rough.decode(latent).float() - exact.decode(latent).float()).abs().mean() < 4


def test_the_folder_is_diffusers_own(tmp_path: Path):
    made = tokenizer()
    made.save_pretrained(tmp_path / "pipeline" / "vae")
    theirs = AutoencoderKLWan.from_pretrained(tmp_path / "pipeline" / "vae")
    assert theirs.config.latents_mean == list(TINY.latents_mean)
    for folder in (tmp_path / "pipeline", tmp_path / "pipeline" / "vae"):
        again = WanTokenizer.from_pretrained(folder, window=3)
        assert (again.config, again.window) == (TINY, 3)
        assert torch.equal(again.encode(video(5, 8, 16)), made.encode(video(5, 8, 16)))


def test_foreign_and_damaged_folders_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"no config\.json of a Wan2\.1 VAE; get one with: hf download"):
        WanTokenizer.from_pretrained(tmp_path)
    folder = tmp_path / "vae"
    tokenizer().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())

    def becomes(**changes: object) -> Path:
        (folder / "config.json").write_text(json.dumps({**config, **changes}))
        return folder

    with pytest.raises(ValueError, match="describes 'AutoencoderKL', not"):
        WanTokenizer.from_pretrained(becomes(_class_name="AutoencoderKL"))
    with pytest.raises(ValueError, match="is_residual=True"):
        WanTokenizer.from_pretrained(becomes(is_residual=True))
    with pytest.raises(ValueError, match="does not fit its config"):
        WanTokenizer.from_pretrained(becomes(num_res_blocks=2))
    becomes()
    weights = folder / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.raises(ValueError, match="damaged"):
        WanTokenizer.from_pretrained(folder)


def test_every_tokenizer_keeps_the_protocol():
    small: VideoTokenizer = Tokenizer(TokenizerConfig(latent_channels=4, patch=2, encoder_width=8, decoder_width=8))
    large: VideoTokenizer = tokenizer()
    for made, latents in ((small, 5), (large, 2)):
        frames = video(5, 16, 24)
        latent = made.encode(frames)
        assert latent.shape[2:] == (made.latent_length(5), *made.latent_size(16, 24))
        assert latent.shape[2] == latents
        assert made.decode(latent).shape == frames.shape


@pytest.mark.parametrize("cells", [5, 12, 13, 20, 31, 57])
@pytest.mark.parametrize(("size", "overlap"), [(12, 3), (8, 2), (4, 1), (5, 0)])
def test_tiles_cover_an_image_with_weights_that_sum_to_one(cells, size, overlap):
    tiles = cut(cells, 2 * cells, Tiling(size * 8, overlap * 8), cell=8)
    assert all(t.rows.stop - t.rows.start <= size for t in tiles)
    assert all(t.rows.head in (0, *range(overlap, size)) for t in tiles)
    whole = blend(tiles, lambda _, tile: torch.ones(2, *tile_size(tile)), height=cells, width=2 * cells, scale=3)
    torch.testing.assert_close(whole, torch.ones(2, 3 * cells, 6 * cells))


def tile_size(tile: Tile) -> tuple[int, int]:
    return 3 * (tile.rows.stop - tile.rows.start), 3 * (tile.columns.stop - tile.columns.start)


def without_attention(made: WanTokenizer) -> WanTokenizer:
    """Attention sees the whole tile; without it, nothing beyond the convolutions' reach matters."""
    for half in (made.vae.encoder, made.vae.decoder):
        for block in half.mid_block.attentions:
            torch.nn.init.zeros_(block.proj.weight)
            torch.nn.init.zeros_(block.proj.bias)
    return made


@pytest.mark.parametrize("size", [(16, 400), (400, 16)])
def test_tiles_that_overlap_beyond_the_reach_of_the_network_are_exact(size):
    config = WanConfig(**{**vars(TINY), "multipliers": (1, 2), "temporal_downsample": (True,)})
    tiling = Tiling(288, 72)
    frames = video(3, *size)
    whole, tiled = without_attention(tokenizer(config)), without_attention(tokenizer(config, tiling=tiling))
    assert len(cut(size[0] // 2, size[1] // 2, tiling, cell=2)) == 2
    latent = whole.encode(frames)
    torch.testing.assert_close(tiled.encode(frames), latent, atol=1e-5, rtol=1e-5)
    assert (tiled.decode(latent).int() - whole.decode(latent).int()).abs().max() <= 1


def test_tiles_are_as_near_to_the_whole_as_those_of_diffusers():
    """Within 20% of the values' spread in a worst case: random weights, tiles of which the edges reach half."""
    frames = video(5, 96, 144)
    whole, tiled = tokenizer(), tokenizer(tiling=Tiling(64, 16))
    assert len(cut(24, 36, tiled.tiling, cell=4)) == 6
    latent = whole.encode(frames)
    decoded = whole.decode(latent).float()
    theirs = tokenizer().vae
    theirs.enable_tiling(64, 64, 48, 48)
    with torch.no_grad():
        their_error = (direct_encode(theirs, frames) - latent).abs().mean() / latent.abs().mean()
        their_pixels = ((direct_decode(theirs, latent) + 1) * 127.5 - decoded).abs().mean() / decoded.std()
    error = (tiled.encode(frames) - latent).abs().mean() / latent.abs().mean()
    pixels = (tiled.decode(latent).float() - decoded).abs().mean() / decoded.std()
    assert 0 < error < min(0.2, 1.1 * their_error)
    assert 0 < pixels < min(0.2, 1.1 * their_pixels)


def test_tiled_windows_equal_each_other():
    latent = tokenizer().encode(video(13, 32, 48))
    one, three = tokenizer(tiling=Tiling(16, 4)), tokenizer(tiling=Tiling(16, 4), window=3)
    assert (one.decode(latent).int() - three.decode(latent).int()).abs().max() <= 1
    torch.testing.assert_close(one.encode(video(13, 32, 48)), three.encode(video(13, 32, 48)), atol=1e-5, rtol=1e-5)


def test_impossible_tilings_are_named():
    with pytest.raises(ValueError, match="tiles of 100 pixels are too small to overlap by 64"):
        Tiling(100, 64)
    with pytest.raises(ValueError, match="-1"):
        Tiling(64, -1)
