import numpy as np
import pytest

from cosmos_sim.metrics.temporal import change_error, flicker, motion

STILL = np.full((5, 6, 7, 3), 100, np.uint8)
STEADY = (np.arange(5, dtype=np.uint8) * 10)[:, None, None, None] + STILL


def test_stills_and_steady_changes():
    assert motion(STILL) == flicker(STILL) == 0
    assert motion(STEADY) == 10
    assert flicker(STEADY) == 0
    assert change_error(truth=STEADY, estimate=STEADY + np.uint8(50)) == 0, "another brightness is no other motion"
    assert change_error(truth=STEADY, estimate=STILL) == 10
    assert change_error(truth=STILL, estimate=STEADY) == 10


def test_flicker_of_independent_noise_is_as_the_formula_says():
    rng = np.random.default_rng(0)
    noisy = np.clip(np.round(rng.normal(128, 12, (20, 40, 50, 3))), 0, 255).astype(np.uint8)
    assert flicker(noisy) == pytest.approx(6**0.5 * 12 * (2 / np.pi) ** 0.5, rel=0.01)
    assert motion(noisy) == pytest.approx(2**0.5 * 12 * (2 / np.pi) ** 0.5, rel=0.01)


def test_a_change_down_counts_as_one_up():
    """Differences of uint8 would wrap around."""
    falling = STEADY[::-1]
    assert motion(falling) == 10
    assert change_error(truth=STEADY, estimate=falling) == 20


@pytest.mark.parametrize(
    ("function", "frames", "message"),
    [
        (motion, STILL[:1], "at least 2 frames"),
        (flicker, STILL[:2], "at least 3 frames"),
        (motion, STILL.astype(np.float32), "float32"),
        (motion, STILL[0], r"\(6, 7, 3\)"),
    ],
)
def test_what_is_no_video_is_refused(function, frames: np.ndarray, message: str):
    with pytest.raises(ValueError, match=message):
        function(frames)
    with pytest.raises(ValueError, match="one shape"):
        change_error(truth=STILL, estimate=STILL[1:])
