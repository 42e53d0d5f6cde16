import numpy as np
import pytest

from cosmos_sim.evaluation.likeness import CameraSum
from cosmos_sim.metrics.video import psnr, ssim


def test_sums_over_batches_are_the_metrics_over_everything():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 256, (5, 14, 19, 3), dtype=np.uint8)
    start, best, world = (np.clip(truth + rng.normal(0, s, truth.shape), 0, 255).astype(np.uint8) for s in (40, 4, 15))
    sums = CameraSum()
    for part in (slice(0, 2), slice(2, 5)):
        sums.add(truth=truth[part], world=world[part], ceiling=best[part], start=start[part])
    result = sums.result()
    for found, estimate in ((result.world, world), (result.copy, start), (result.ceiling, best)):
        assert found.psnr == pytest.approx(psnr(truth=truth, estimate=estimate))
        assert found.ssim == pytest.approx(ssim(truth=truth, estimate=estimate))
    assert 0 < result.closed < 1
    gap = result.ceiling.psnr - result.copy.psnr
    assert result.closed * gap == pytest.approx(result.world.psnr - result.copy.psnr)


def test_where_nothing_is_to_be_gained_no_share_is_closed():
    still = np.full((2, 12, 11, 3), 90, dtype=np.uint8)
    sums = CameraSum()
    sums.add(truth=still, world=still + np.uint8(1), ceiling=still + np.uint8(2), start=still)
    result = sums.result()
    assert result.copy.psnr == np.inf
    assert result.closed is None
    assert result.world.psnr_changed is None
