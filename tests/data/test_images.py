import cv2
import numpy as np
import pytest
from numpy import ndarray

from cosmos_sim.data.images import stretch


@pytest.fixture(scope="module")
def images() -> ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 24, 36, 3), np.uint8)


@pytest.mark.parametrize(
    ("size", "method"),
    [((12, 18), cv2.INTER_AREA), ((48, 72), cv2.INTER_LANCZOS4), ((12, 50), cv2.INTER_LANCZOS4)],
)
def test_stretched_as_the_original_does(images, size, method):
    expected = [cv2.resize(image, size[::-1], interpolation=method) for image in images]
    np.testing.assert_array_equal(stretch(images, size), expected)


def test_halves_are_averages(images):
    blocks = images.reshape(3, 12, 2, 18, 2, 3).mean(axis=(2, 4))
    assert np.abs(stretch(images, (12, 18)) - blocks).max() <= 0.5


def test_masks_keep_their_range_and_single_channels_their_axis(images):
    mask = (images[..., 0] > 127).astype(np.float32)
    grown = stretch(mask, (31, 50))
    assert grown.shape == (3, 31, 50)
    assert (grown.min(), grown.max()) == (0, 1)
    assert stretch(images[..., :1], (7, 5)).shape == (3, 7, 5, 1)


def test_the_same_size_is_the_same(images):
    np.testing.assert_array_equal(stretch(images, (24, 36)), images)


def test_nothing_to_stretch_is_named(images):
    with pytest.raises(ValueError, match="24x36 pixels cannot be stretched to 0x5"):
        stretch(images, (0, 5))


def test_masks_stay_between_0_and_1():
    for size in ((32, 32), (21, 20), (90, 40)):
        mask = stretch(np.ones((1, 48, 56), np.float32), size)
        assert mask.max() == 1.0
        assert mask.min() > 0.999
