"""Files are read at the size asked for; pixels against Pillow's own resizing."""

import math
import re
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from numpy import ndarray
from PIL import Image

from cosmos_sim.data.images import fit, read_image
from cosmos_sim.training.video import write_mp4
from cosmos_sim.world_model.inputs import given_frames, last_frames
from cosmos_sim.world_model.wan import WanConfig, WanTokenizer


def waves(t: int, h: int, w: int) -> ndarray:
    """A smooth video whose brightness rises by 5 a frame, so that frames can be told apart after compression."""
    y, x = np.mgrid[0:h, 0:w]
    base = np.stack([np.sin(x / 9), np.sin(y / 7), np.sin((x + y) / 8)], -1) * 40 + 60
    return np.stack([base + 5 * k for k in range(t)]).clip(0, 255).astype(np.uint8)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    write_mp4(tmp_path / "waves.mp4", waves(12, 48, 80), 10)
    return tmp_path / "waves.mp4"


@pytest.mark.parametrize(("source", "size"), [((30, 50), (16, 48)), ((50, 30), (48, 16)), ((16, 17), (33, 40))])
def test_resized_to_cover_and_cropped_in_the_middle(source, size):
    frames = waves(2, *source)
    out = fit(frames, size)
    assert out.shape == (2, *size, 3)
    assert out.dtype == np.uint8
    scale = max(size[0] / source[0], size[1] / source[1])
    cover = [math.ceil(source[0] * scale), math.ceil(source[1] * scale)]
    pillow = Image.fromarray(frames[1]).resize((cover[1], cover[0]), Image.Resampling.BILINEAR)
    top, left = round((cover[0] - size[0]) / 2), round((cover[1] - size[1]) / 2)
    box = np.asarray(pillow)[top : top + size[0], left : left + size[1]]
    assert np.abs(out[1].astype(int) - box).max() <= 1


def test_a_frame_of_the_right_size_stays_as_it_is():
    frames = waves(3, 24, 40)
    assert np.array_equal(fit(frames, (24, 40)), frames)


def test_images(tmp_path):
    image = waves(1, 32, 48)[0]
    Image.fromarray(image).save(tmp_path / "a.PNG")
    assert np.array_equal(read_image(tmp_path / "a.PNG"), image)
    assert given_frames(tmp_path / "a.PNG", frames=1, size=(16, 16)).shape == (1, 16, 16, 3)
    alpha = np.dstack([image, np.zeros((32, 48), np.uint8)])
    Image.fromarray(alpha).save(tmp_path / "b.webp", lossless=True, exact=True)
    assert np.array_equal(read_image(tmp_path / "b.webp"), image)
    Image.fromarray(image[..., 0]).save(tmp_path / "grey.png")
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.repeat(image[..., :1], 3, -1))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "turned.png"), np.rot90(image, -1))


def test_the_last_frames_of_a_video(video):
    five = last_frames(video, 5)
    assert five.shape == (5, 48, 80, 3)
    assert np.abs(five.astype(int) - waves(12, 48, 80)[7:]).mean() < 3
    assert np.array_equal(given_frames(video, frames=1, size=(48, 80))[0], five[-1])
    assert np.array_equal(given_frames(video, frames=5, size=(32, 64)), fit(five, (32, 64)))


def test_what_follows_the_given_frames_does_not_change_their_latents():
    """The original encodes an image before black frames, a video before its last frame repeated."""
    torch.manual_seed(0)
    tokenizer = WanTokenizer(
        WanConfig(width=4, multipliers=(1, 2, 2), num_res_blocks=1, temporal_downsample=(True, True))
    )
    frames = torch.from_numpy(waves(5, 16, 24))[None]
    black, repeated = torch.zeros(1, 12, 16, 24, 3, dtype=torch.uint8), frames[:, -1:].expand(-1, 8, -1, -1, -1)
    original = tokenizer.encode(torch.cat([frames[:, :1], black], 1))
    torch.testing.assert_close(tokenizer.encode(frames[:, :1]), original[:, :, :1])
    original = tokenizer.encode(torch.cat([frames, repeated], 1))
    torch.testing.assert_close(tokenizer.encode(frames), original[:, :, :2])


def test_wrong_requests_name_the_file(video, tmp_path):
    with pytest.raises(ValueError, match=r"waves\.mp4' has 12 frames; 13 are needed"):
        given_frames(video, frames=13, size=(16, 16))
    Image.fromarray(waves(1, 8, 8)[0]).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png' is one image; 5 frames are needed"):
        given_frames(tmp_path / "a.png", frames=5, size=(16, 16))
    with pytest.raises(ValueError, match=r"missing\.jpg': the image is missing"):
        given_frames(tmp_path / "missing.jpg", frames=1, size=(16, 16))
    with pytest.raises(ValueError, match=r"neither an image .* nor a video"):
        given_frames(tmp_path / "notes.txt", frames=1, size=(16, 16))
    with pytest.raises(ValueError, match="1 frame or more, not 0"):
        given_frames(video, frames=0, size=(16, 16))
    with pytest.raises(ValueError, match="48x80 pixels cannot be fitted to 0x16"):
        given_frames(video, frames=1, size=(0, 16))


@pytest.mark.parametrize("kind", ["png", "jpg", "mp4"])
def test_damaged_files_are_named(tmp_path, kind):
    path = tmp_path / f"broken.{kind}"

    def refused(message: str) -> None:
        with pytest.raises(ValueError, match=re.escape(str(path)) + ".*" + message):
            given_frames(path, frames=1, size=(16, 16))

    path.touch()
    refused(r"empty \(0 bytes\)")
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    refused("not a readable")
    if kind == "mp4":
        write_mp4(path, waves(12, 48, 80), 10)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        refused("not a readable video")
    else:
        Image.fromarray(waves(1, 64, 80)[0]).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
        refused("not a readable image: .*[Tt]runcated")


def test_a_video_that_breaks_off_is_noticed(video, tmp_path):
    """With its index in front, as videos for the web have it, the beginning of a torn file still plays."""
    front, torn = tmp_path / "front.mp4", tmp_path / "torn.mp4"
    with av.open(str(video)) as source, av.open(str(front), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    assert len(last_frames(front, 12)) == 12
    whole = front.read_bytes()
    torn.write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(ValueError, match=r"torn\.mp4' is broken after"):
        last_frames(torn, 1)
