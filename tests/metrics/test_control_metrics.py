from itertools import permutations

import cv2
import numpy as np
import pytest
from scipy.spatial.distance import dice, jaccard
from skimage.metrics import structural_similarity

from cosmos_sim.metrics.control import blur_ssim, depth_si_rmse, edge_f1, mask_miou
from cosmos_sim.metrics.video import ssim


@pytest.fixture(scope="module")
def pair():
    """Two videos of the same shapes, the second moved a little and noisy."""
    rng = np.random.default_rng(4)
    videos = np.full((2, 3, 40, 53, 3), 70, np.uint8)
    for k, video in enumerate(videos):
        for t, image in enumerate(video):
            cv2.circle(image, (18 + 3 * t + k, 20), 11, (210, 60, 90), -1)
            cv2.rectangle(image, (34, 8 + k), (48, 30), (60, 170, 105), -1)
    noisy = videos[1] + rng.normal(0, 10, videos[1].shape)
    return videos[0], np.clip(noisy, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def where():
    mask = np.zeros((3, 40, 53), bool)
    mask[0, 5:30, 10:31], mask[2, 8:, 20:] = True, True
    return mask


@pytest.mark.parametrize("thresholds", [(100, 200), (20, 50)])
@pytest.mark.parametrize("masked", [False, True])
def test_edge_f1_is_scipys_dice_over_all_frames(pair, where, thresholds, masked):
    chosen = where if masked else np.ones_like(where)
    a, b = (np.stack([cv2.Canny(image, *thresholds) for image in video])[chosen] > 0 for video in pair)
    score = edge_f1(truth=pair[0], estimate=pair[1], thresholds=thresholds, where=where if masked else None)
    assert score.f1 == pytest.approx(1 - dice(a, b))
    assert score.precision == pytest.approx((a & b).sum() / b.sum())
    assert score.recall == pytest.approx((a & b).sum() / a.sum())
    assert 0.05 < score.f1 < 0.95
    assert score.precision != pytest.approx(score.recall, abs=1e-3)


def test_edge_f1_of_the_same_and_of_nothing(pair):
    assert edge_f1(truth=pair[0], estimate=pair[0]).f1 == 1
    flat = np.full_like(pair[0], 9)
    for a, b in ((pair[0], flat), (flat, pair[0]), (flat, flat)):
        assert edge_f1(truth=a, estimate=b).f1 == 0


def maps(a, b):
    """scikit-image's similarity of two images at the pixels where its window fits."""
    _, found = structural_similarity(
        a, b, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, full=True
    )
    return found


def test_blur_ssim_is_scikit_images_under_opencvs_filter(pair, where):
    blurred = [[cv2.bilateralFilter(image, 30, 150, 100) for image in video] for video in pair]
    similar = np.stack([maps(a, b) for a, b in zip(*blurred, strict=True)])
    assert blur_ssim(truth=pair[0], estimate=pair[1]) == pytest.approx(similar[:, 5:-5, 5:-5].mean(), abs=1e-9)
    inner = where.copy()
    inner[:, :5], inner[:, -5:], inner[:, :, :5], inner[:, :, -5:] = False, False, False, False
    expected = similar[inner].mean()
    assert blur_ssim(truth=pair[0], estimate=pair[1], where=where) == pytest.approx(expected, abs=1e-9)
    assert abs(expected - similar[:, 5:-5, 5:-5].mean()) > 1e-3


def test_blur_ssim_under_another_blur(pair):
    def gaussian(frames):
        return np.stack([cv2.GaussianBlur(image, (25, 25), 12.5) for image in frames])

    expected = ssim(truth=gaussian(pair[0]), estimate=gaussian(pair[1]))
    assert blur_ssim(truth=pair[0], estimate=pair[1], blur=gaussian) == expected
    assert blur_ssim(truth=pair[0], estimate=pair[0]) == pytest.approx(1)


def test_ssim_needs_a_pixel_around_which_the_window_fits(pair):
    border = np.zeros((3, 40, 53), bool)
    border[:, :5] = True
    with pytest.raises(ValueError, match="pick an inner pixel"):
        ssim(truth=pair[0], estimate=pair[1], where=border)


def test_depth_error_of_each_frame_is_scaled_and_then_averaged():
    rng = np.random.default_rng(8)
    truth = rng.uniform(0.4, 3, (3, 5, 7)).astype(np.float32)
    estimate = (truth * np.array([2.0, 0.1, 30])[:, None, None] * rng.uniform(0.8, 1.25, truth.shape)).astype(
        np.float32
    )
    truth[0, 1, 2], estimate[1, 3, 3], estimate[1, 0, 0], truth[2, 4, 6] = 0, 0, np.nan, np.inf
    expected = []
    for a, b in zip(truth.astype(float), estimate.astype(float), strict=True):
        valid = [(x, y) for x, y in zip(a.flat, b.flat, strict=True) if 0 < x < np.inf and 0 < y < np.inf]
        scale = np.median([x for x, _ in valid]) / np.median([y for _, y in valid])
        expected.append(np.sqrt(np.mean([(x - scale * y) ** 2 for x, y in valid])))
    assert depth_si_rmse(truth=truth, estimate=estimate) == pytest.approx(np.mean(expected), rel=1e-6)
    assert depth_si_rmse(truth=truth, estimate=estimate * 17) == pytest.approx(np.mean(expected), rel=1e-5)
    assert depth_si_rmse(truth=truth * 4, estimate=estimate) == pytest.approx(4 * np.mean(expected), rel=1e-5)


def test_depth_error_looks_where_it_is_told_and_leaves_out_empty_frames():
    truth = np.array([[[1000, 2000, 4000]], [[1000, 3000, 5000]]], np.uint16)
    estimate = np.array([[[10, 20, 50]], [[9, 9, 9]]], np.uint16)
    where = np.array([[[True, True, False]], [[False, False, False]]])
    assert depth_si_rmse(truth=truth, estimate=estimate, where=where) == pytest.approx(0)
    assert depth_si_rmse(truth=truth[:1], estimate=estimate[:1]) == pytest.approx(np.sqrt(1000**2 / 3))
    with pytest.raises(ValueError, match="no pixel of 2 frame"):
        depth_si_rmse(truth=truth, estimate=estimate, where=np.zeros_like(where))


@pytest.fixture(scope="module")
def segments():
    """Blocks, and the same with some moved, one missing and two of one name."""
    truth = np.zeros((4, 20, 31), np.uint8)
    truth[:, 2:8, 3:12], truth[:, 10:18, 2:9], truth[1:, 4:16, 18:28], truth[2:, 0:2, 0:2] = 1, 2, 7, 9
    estimate = np.zeros_like(truth)
    estimate[:, 3:9, 4:12], estimate[:, 9:17, 2:11], estimate[2:, 6:16, 15:26] = 3, 1, 200
    return truth, estimate


def ious(truth, estimate):
    """SciPy's overlap of every pair of segments."""
    rows, columns = [sorted(set(ids.flat) - {0}) for ids in (truth, estimate)]
    return np.array([[1 - jaccard((truth == a).ravel(), (estimate == b).ravel()) for b in columns] for a in rows])


def test_masks_are_matched_by_scipys_overlap(segments):
    truth, estimate = segments
    best = ious(truth, estimate).max(axis=1)
    found = best[best > 0.1]
    assert len(found) == 3
    score = mask_miou(truth=truth, estimate=estimate)
    assert (score.miou, score.recall) == pytest.approx((found.mean(), 3 / 4))
    strict = mask_miou(truth=truth, estimate=estimate, threshold=0.5)
    assert (strict.miou, strict.recall) == pytest.approx((best[best > 0.5].mean(), (best > 0.5).mean()))


def test_no_two_masks_share_one_where_they_are_assigned(segments):
    truth, _ = segments
    estimate = np.where(truth > 2, 5, (truth > 0) * 4).astype(np.uint8)
    table = ious(truth, estimate)
    free = mask_miou(truth=truth, estimate=estimate)
    assert (free.miou, free.recall) == pytest.approx((table.max(axis=1)[:3].mean(), 3 / 4))
    pairs = max(permutations(range(4), 2), key=lambda rows: sum(table[row, k] for k, row in enumerate(rows)))
    assigned = mask_miou(truth=truth, estimate=estimate, matching="hungarian")
    expected = np.mean([table[row, k] for k, row in enumerate(pairs)])
    assert (assigned.miou, assigned.recall) == pytest.approx((expected, 2 / 4))


def test_masks_within_a_region(segments):
    truth, estimate = segments
    where = np.zeros(truth.shape, bool)
    where[:, :9] = True
    part = mask_miou(truth=truth, estimate=estimate, where=where)
    whole = mask_miou(truth=truth[:, :9], estimate=estimate[:, :9])
    assert part == whole != mask_miou(truth=truth, estimate=estimate)


def test_masks_of_nothing(segments):
    empty = np.zeros_like(segments[0])
    nothing = mask_miou(truth=empty, estimate=empty)
    assert (nothing.miou, nothing.recall) == (1, 1)
    assert mask_miou(truth=empty, estimate=segments[1]).miou == 0
    missed = mask_miou(truth=segments[0], estimate=empty)
    assert (missed.miou, missed.recall) == (0, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, s: edge_f1(truth=p[0], estimate=p[1][:2]), "must have one shape"),
        (lambda p, s: edge_f1(truth=s[0], estimate=s[1]), "4 axes are needed"),
        (lambda p, s: blur_ssim(truth=p[0].astype(float), estimate=p[1].astype(float)), "truth must be uint8"),
        (lambda p, s: blur_ssim(truth=p[0], estimate=p[1], where=s[0] > 0), "where must be bool of shape"),
        (lambda p, s: mask_miou(truth=s[0].astype(int), estimate=s[1].astype(int)), "uint8 ids of segments, got int64"),
        (lambda p, s: mask_miou(truth=s[0], estimate=s[1], matching="best"), "'max' or 'hungarian', got 'best'"),
        (lambda p, s: depth_si_rmse(truth=s[0][0], estimate=s[1][0]), "3 axes are needed"),
    ],
)
def test_wrong_use_is_named(pair, segments, call, message):
    with pytest.raises(ValueError, match=message):
        call(pair, segments)
