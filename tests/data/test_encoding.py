"""Videos written and joined come back frame for frame, at the moments that they should."""

from pathlib import Path

import numpy as np
import pytest

from cosmos_sim.data.encoding import encode_video, join_videos
from cosmos_sim.data.video import SequentialVideo


def clip(rng: np.random.Generator, frames: int) -> np.ndarray:
    """A smooth random picture that changes its colour: what an encoder keeps."""
    colours = rng.integers(30, 220, (frames, 1, 1, 3))
    ramp = np.linspace(0, 30, 42)[None, None, :, None]
    return np.broadcast_to(colours + ramp, (frames, 26, 42, 3)).astype(np.uint8)


def test_joined_videos_hold_each_of_them_unchanged(tmp_path: Path) -> None:
    rng, lengths = np.random.default_rng(0), (7, 3, 10)
    clips = [clip(rng, length) for length in lengths]
    files = [tmp_path / f"{k}.mp4" for k in range(3)]
    for frames, file in zip(clips, files, strict=True):
        file.write_bytes(encode_video(frames, fps=10))
    begins = join_videos(files, tmp_path / "all.mp4", frames=lengths, fps=10)
    assert begins == [0.0, 0.7, 1.0]
    with SequentialVideo(tmp_path / "all.mp4") as joined:
        assert joined.header().frames == 20
        assert joined.header().fps == 10
        for k in (2, 0, 1):
            with SequentialVideo(files[k]) as alone:
                expected = alone.read(0, lengths[k], fps=10)
            np.testing.assert_array_equal(joined.read(begins[k], lengths[k], fps=10), expected)
            assert np.abs(expected.astype(int) - clips[k]).mean() < 3


def test_the_same_frames_give_the_same_bytes() -> None:
    frames = clip(np.random.default_rng(1), 5)
    assert encode_video(frames, fps=30) == encode_video(frames.copy(), fps=30)


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"float64 of shape \(2, 4, 4, 3\)"):
        encode_video(np.zeros((2, 4, 4, 3)), fps=10)
    (tmp_path / "x.mp4").write_bytes(encode_video(clip(np.random.default_rng(2), 4), fps=10))
    with pytest.raises(ValueError, match="holds 4 frames, not 5"):
        join_videos([tmp_path / "x.mp4"], tmp_path / "y.mp4", frames=[5], fps=10)
