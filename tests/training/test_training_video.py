"""Sample videos, read back."""

import io

import av
import numpy as np
import pytest
from PIL import Image

from cosmos_sim.training.video import encode_gif, write_mp4


def fading(count: int, height: int, width: int) -> np.ndarray:
    """Frames that go from red on the left half to blue on the right, ever brighter."""
    frames = np.zeros((count, height, width, 3), np.uint8)
    for k in range(count):
        frames[k, :, : width // 2, 0] = frames[k, :, width // 2 :, 2] = 80 + 30 * k
    return frames


def decoded(path) -> np.ndarray:
    with av.open(path) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_an_mp4_shows_what_was_written_even_at_odd_sizes(tmp_path):
    frames = fading(5, 33, 47)
    write_mp4(tmp_path / "new" / "a.mp4", frames, 12.5)
    with av.open(tmp_path / "new" / "a.mp4") as container:
        stream = container.streams.video[0]
        assert float(stream.average_rate) == 12.5
        assert stream.codec_context.name == "h264"
    read = decoded(tmp_path / "new" / "a.mp4")
    assert read.shape == (5, 34, 48, 3)
    quiet = np.abs(read[:, :33, :47].astype(int) - frames)[:, :, [*range(20), *range(27, 47)]]
    assert quiet.mean() < 4
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.mp4"]


def test_an_mp4_in_pieces_is_the_same_video_and_asks_for_each_only_when_the_last_is_written(tmp_path):
    frames, asked = fading(5, 20, 31), []

    def pieces():
        for part in (frames[:3], frames[3:4], frames[4:]):
            asked.append(len(part))
            assert not (tmp_path / "pieces.mp4").exists()
            yield part

    write_mp4(tmp_path / "whole.mp4", frames, 10.0)
    write_mp4(tmp_path / "pieces.mp4", pieces(), 10.0)
    assert asked == [3, 1, 1]
    whole, in_pieces = decoded(tmp_path / "whole.mp4"), decoded(tmp_path / "pieces.mp4")
    assert in_pieces.shape == whole.shape == (5, 20, 32, 3)
    np.testing.assert_allclose(in_pieces.astype(int), whole.astype(int), atol=8)  # x264's threads may round apart


def test_an_mp4_that_breaks_off_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="a video of 20x31 goes on with frames of"):
        write_mp4(tmp_path / "a.mp4", [fading(2, 20, 31), fading(2, 20, 32)], 10.0)
    assert not list(tmp_path.iterdir())


def test_a_gif_has_every_frame():
    frames = fading(4, 20, 31)
    image = Image.open(io.BytesIO(encode_gif(frames, 10.0)))
    assert (image.n_frames, image.size, image.info["duration"]) == (4, (31, 20), 100)
    image.seek(3)
    assert np.abs(np.asarray(image.convert("RGB")).astype(int) - frames[3]).mean() < 4


@pytest.mark.parametrize(
    "frames", [np.zeros((2, 8, 8, 3), np.float32), np.zeros((8, 8, 3), np.uint8), np.zeros((0, 8, 8, 3), np.uint8), []]
)
def test_what_is_no_video_is_refused(tmp_path, frames):
    with pytest.raises(ValueError, match="uint8 frames t h w 3, but is"):
        write_mp4(tmp_path / "a.mp4", frames, 10.0)
