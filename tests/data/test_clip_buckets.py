"""Windows are enumerated by brute force, sizes chosen by hand."""

import itertools
import math

import numpy as np
import pytest

from cosmos_sim.data.clip_buckets import Row, choose_size, count_windows, make_buckets, tolerance, too_slow

SIZES = [(256, 256), (432, 768), (320, 192), (192, 320)]


@pytest.mark.parametrize(
    ("size", "chosen"),
    [
        ((1080, 1920), (432, 768)),
        ((400, 700), (192, 320)),  # 432x768 is as near in shape, but would enlarge it
        ((480, 640), (192, 320)),  # 4/3 is nearer to 5/3 than to 1 by the logarithm
        ((480, 600), (256, 256)),
        ((700, 400), (320, 192)),
        ((64, 64), (256, 256)),
    ],
)
def test_the_nearest_shape_is_chosen(size: tuple[int, int], chosen: tuple[int, int]) -> None:
    assert choose_size(size, SIZES) == chosen


def test_of_one_shape_the_largest_that_needs_no_enlarging() -> None:
    sizes = [(96, 160), (384, 640), (192, 320)]
    assert choose_size((383, 640), sizes) == (192, 320)
    assert choose_size((500, 800), sizes) == (384, 640)
    assert choose_size((60, 100), sizes) == (96, 160)


@pytest.mark.parametrize(("own", "fps"), [(10, 10), (10, 5), (30, 16), (29.97, 30), (50, 16)])
@pytest.mark.parametrize(("frames", "step"), [(5, 1), (5, 7), (1, 3)])
def test_windows_are_those_whose_last_frame_is_there(own: float, fps: float, frames: int, step: int) -> None:
    for length in (1, 4, 5, 13, 40):
        stamps = np.arange(length) / own
        begins = [
            start
            for start in range(0, length, step)
            if start / own + (frames - 1) / fps <= stamps[-1] + 0.002 / min(own, fps)
        ]
        assert count_windows(length, frames, step, own=own, fps=fps) == len(begins)


def test_a_slow_video_is_known_by_its_rate() -> None:
    assert too_slow(10, 16)
    assert not too_slow(30000 / 1001, 30)
    assert not too_slow(16, 16)


@pytest.mark.parametrize(("own", "fps"), [(30, 16), (16, 16), (30000 / 1001, 30), (25, 10)])
def test_within_the_tolerance_every_time_finds_a_frame_of_its_own(own: float, fps: float) -> None:
    stamps, times = np.arange(300) / own, 3 / own + np.arange(93) / fps
    nearest = np.abs(stamps[None] - times[:, None]).argmin(axis=1)
    assert (np.diff(nearest) >= 1).all()
    assert np.abs(stamps[nearest] - times).max() <= tolerance(own, fps)


def test_windows_of_a_bucket() -> None:
    rows = [Row((4, 6), 5, 2, 3, 4), Row((4, 6), 5, 7, 1, 1), Row((4, 6), 9, 7, 2, 2), Row((2, 6), 5, 1, 1, 3)]
    buckets = make_buckets(rows)
    assert [(bucket.size, bucket.frames, len(bucket)) for bucket in buckets] == [
        ((2, 6), 5, 3),
        ((4, 6), 5, 5),
        ((4, 6), 9, 2),
    ]
    assert [buckets[1].window(k) for k in range(5)] == [(2, 0), (2, 3), (2, 6), (2, 9), (7, 0)]


@pytest.mark.parametrize("windows", [1, 2, 3, 8, 61, 100])
def test_everybody_stands_in_once(windows: int) -> None:
    (bucket,) = make_buckets([Row((4, 6), 5, 0, 1, windows)])
    for first in {0, windows // 2, windows - 1}:
        order = list(bucket.order(first))
        assert order[0] == first
        assert sorted(order) == list(range(windows))
        if windows > 8:
            assert all(math.dist([a], [b]) > 1 for a, b in itertools.pairwise(order))


def test_the_order_goes_on_alike_from_a_stand_in() -> None:
    (bucket,) = make_buckets([Row((4, 6), 5, 0, 1, 23)])
    order = list(bucket.order(4))
    assert list(bucket.order(order[3])) == order[3:] + order[:3]
