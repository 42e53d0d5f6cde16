import cv2
import numpy as np
import pytest
from scipy import ndimage

from cosmos_sim.metrics.drift import chunk_scores, rnds
from cosmos_sim.metrics.quality import sharpness


@pytest.fixture(scope="module")
def frames():
    noise = np.random.default_rng(6).uniform(0, 255, (11, 24, 37, 3))
    return ndimage.gaussian_filter(noise, (0, 1.5, 1.5, 0)).astype(np.uint8)


def test_sharpness_is_scipys_gradient(frames):
    grey = np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in frames]).astype(float)
    gradients = [np.stack([ndimage.sobel(image, axis=axis, mode="mirror") for image in grey]) / 8 for axis in (0, 1)]
    expected = np.sqrt(np.mean(gradients[0] ** 2 + gradients[1] ** 2))
    assert sharpness(frames) == pytest.approx(expected, rel=1e-5)


def test_sharpness_of_a_ramp_is_its_slope():
    ramp = np.broadcast_to((3 * np.arange(60))[None, None, :, None], (2, 9, 60, 3)).astype(np.uint8)
    assert sharpness(ramp[:, :, 1:-1]) == pytest.approx(3 * np.sqrt(56 / 58))


def test_blur_lowers_sharpness(frames):
    blurred = np.stack([cv2.GaussianBlur(image, (7, 7), 2) for image in frames])
    assert sharpness(blurred) < 0.7 * sharpness(frames)


def test_rnds_is_equation_five():
    truth, estimate = (0.8, 0.5, 0.9), (0.4, 0.2, 0.18)
    assert rnds(truth=truth, estimate=estimate) == pytest.approx((1, 0.8, 0.4))
    assert rnds(truth=truth, estimate=[3 * score for score in truth]) == pytest.approx((1, 1, 1))


def test_a_video_that_decays_falls_and_the_true_one_does_not(frames):
    worse = np.stack([cv2.GaussianBlur(image, (5, 5), 0.1 + 0.1 * k) for k, image in enumerate(frames)])
    scores = [list(chunk_scores(iter(video), sharpness, chunk=4)) for video in (frames, worse)]
    assert len(scores[0]) == 3
    assert scores[0][2] == sharpness(frames[8:])
    curve = rnds(truth=scores[0], estimate=scores[1])
    assert curve[0] == 1
    assert curve[2] < curve[1] < 0.95
    assert rnds(truth=scores[0], estimate=scores[0]) == (1, 1, 1)


def test_no_more_than_a_chunk_is_held(frames):
    taken = []

    def source():
        for k, image in enumerate(frames):
            taken.append(k)
            yield image

    scores = chunk_scores(source(), sharpness, chunk=4)
    next(scores)
    assert taken == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("truth", "estimate", "message"),
    [
        ((1.0, 2.0), (1.0,), "got 2 and 1"),
        ((), (), "equally many chunks"),
        ((1.0, 0.0), (1.0, 1.0), "got 0.0 for chunk 1 of truth"),
        ((1.0, 1.0), (1.0, float("nan")), "got nan for chunk 1 of estimate"),
    ],
)
def test_scores_without_a_ratio_are_named(truth, estimate, message):
    with pytest.raises(ValueError, match=message):
        rnds(truth=truth, estimate=estimate)


def test_wrong_use_is_named(frames):
    with pytest.raises(ValueError, match="1 frame or more, got 0"):
        chunk_scores(iter(frames), sharpness, chunk=0)
    with pytest.raises(ValueError, match="got float64"):
        sharpness(frames.astype(float))
