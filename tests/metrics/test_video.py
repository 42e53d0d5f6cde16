import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from cosmos_sim.metrics.video import changed, psnr, ssim


@pytest.fixture
def pair():
    generator = np.random.default_rng(3)
    smooth = np.cumsum(generator.normal(size=(2, 3, 24, 31, 3)), axis=-2) * 9 + 120
    truth = np.clip(smooth, 0, 255).astype(np.uint8)
    estimate = np.clip(truth + generator.normal(0, 12, truth.shape), 0, 255).astype(np.uint8)
    return truth, estimate


def test_psnr_of_one_image_equals_scikit_image(pair):
    truth, estimate = pair[0][1, 2], pair[1][1, 2]
    assert psnr(truth=truth, estimate=estimate) == pytest.approx(peak_signal_noise_ratio(truth, estimate))


def test_psnr_pools_squared_error_over_frames():
    truth = np.zeros((2, 4, 6, 3), dtype=np.uint8)
    estimate = truth.copy()
    estimate[1] = 10
    assert psnr(truth=truth, estimate=estimate) == pytest.approx(10 * np.log10(255**2 / 50))
    assert psnr(truth=truth, estimate=truth) == float("inf")


def test_psnr_of_chosen_pixels(pair):
    truth, estimate = pair
    where = changed(truth, estimate, levels=20)
    assert 0 < where.mean() < 0.5
    error = (truth[where].astype(float) - estimate[where].astype(float)) ** 2
    assert psnr(truth=truth, estimate=estimate, where=where) == pytest.approx(10 * np.log10(255**2 / error.mean()))
    assert psnr(truth=truth, estimate=estimate, where=np.ones_like(where)) == psnr(truth=truth, estimate=estimate)
    with pytest.raises(ValueError, match="pick a pixel"):
        psnr(truth=truth, estimate=estimate, where=np.zeros_like(where))


def test_changed_looks_at_any_channel_and_both_signs():
    start = np.full((2, 3, 3), 100, dtype=np.uint8)
    end = start.copy()
    end[0, 1, 2], end[1, 2, 0], end[0, 0, 0] = 60, 130, 110
    expected = np.zeros((2, 3), dtype=bool)
    expected[0, 1] = expected[1, 2] = True
    np.testing.assert_array_equal(changed(start, end), expected)


def test_ssim_equals_scikit_image(pair):
    theirs = [
        structural_similarity(
            a, b, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
        )
        for a, b in zip(pair[0].reshape(-1, 24, 31, 3), pair[1].reshape(-1, 24, 31, 3), strict=True)
    ]
    assert ssim(truth=pair[0], estimate=pair[1]) == pytest.approx(np.mean(theirs), abs=1e-9)


def test_ssim_of_a_single_channel(pair):
    truth, estimate = pair[0][0, 0, :, :, :1], pair[1][0, 0, :, :, :1]
    theirs = structural_similarity(
        truth[..., 0], estimate[..., 0], gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )
    assert ssim(truth=truth, estimate=estimate) == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_bad_frames_are_named(metric, pair):
    truth, estimate = pair
    with pytest.raises(ValueError, match="float32"):
        metric(truth=truth, estimate=estimate.astype(np.float32))
    with pytest.raises(ValueError, match="23"):
        metric(truth=truth, estimate=estimate[:, :, :23])
    with pytest.raises(ValueError, match="24, 31"):
        metric(truth=truth[0, 0, :, :, 0][:0], estimate=truth[0, 0, :, :, 0]) if metric is psnr else metric(
            truth=truth[0, 0, :, :, 0], estimate=truth
        )


def test_ssim_needs_room_for_its_window():
    small = np.zeros((10, 40, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"\(10, 40\)"):
        ssim(truth=small, estimate=small)
