import io

import av
import numpy as np
import pytest

from cosmos_sim.evaluation.clip import beside, jpeg, mp4


def test_cameras_stand_side_by_side_enlarged_by_whole_pixels():
    frames = {
        "a": np.arange(2 * 5 * 7 * 3, dtype=np.uint8).reshape(2, 5, 7, 3),
        "b": np.full((2, 4, 3, 3), 200, dtype=np.uint8),
    }
    video = beside(frames, height=10, background=9)
    assert video.shape == (2, 12 if 4 * round(10 / 4) > 10 else 10, 14 + 4 + 3 * round(10 / 4), 3)
    np.testing.assert_array_equal(video[:, 0:10:2, 0:14:2], frames["a"])
    np.testing.assert_array_equal(video[:, 1:10:2, 1:14:2], frames["a"])
    assert (video[:, :8, 18:24] == 200).all()
    assert (video[:, :, 14:18] == 9).all()


def test_unequal_lengths_are_named():
    with pytest.raises(ValueError, match=r"'a': 2, 'b': 3"):
        beside({"a": np.zeros((2, 4, 4, 3), np.uint8), "b": np.zeros((3, 4, 4, 3), np.uint8)})


def test_mp4_is_h264_that_browsers_play_and_shows_what_went_in():
    t, y, x = np.mgrid[0:9, 0:48, 0:64]
    video = np.stack([(x * 2 + 9 * t), 3 * y, 128 + 0 * x], axis=-1).astype(np.uint8)
    data = mp4(video, fps=10)
    assert data == mp4(video, fps=10)
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate) == 10
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
    assert decoded.shape == video.shape
    assert np.abs(decoded.astype(int) - video.astype(int)).mean() < 6


def test_mp4_names_an_odd_size():
    with pytest.raises(ValueError, match="63"):
        mp4(np.zeros((2, 48, 63, 3), np.uint8), fps=10)


def test_jpeg_keeps_the_order_of_colours():
    import cv2

    image = np.zeros((16, 24, 3), dtype=np.uint8)
    image[..., 0] = 220
    decoded = cv2.imdecode(np.frombuffer(jpeg(image), np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == image.shape
    assert decoded[..., 2].mean() > 200
    assert decoded[..., 0].mean() < 20
