import numpy as np
import pytest
from hand_world import LIFTED, HandWorld

from cosmos_sim.evaluation.inspection import open_loop_text
from cosmos_sim.evaluation.open_loop import open_loop
from cosmos_sim.types import Episode


def record(world: HandWorld, length: int, seed: int) -> Episode:
    """``length`` rows of a recording in which the hand moves by ``world.gain`` times the action, exactly."""
    generator = np.random.default_rng(seed)
    action = generator.uniform(-1, 1, (length, 4)).astype(np.float32)
    action[:, 2] = np.abs(action[:, 2])
    path = np.cumsum(np.vstack([generator.uniform(-0.3, 0, (1, 3)), world.gain * action[:, :3]]), axis=0)
    success = path[1:, 2] > LIFTED
    return Episode(world.draw(path[:-1]), path[:-1].astype(np.float32), action, "raise the hand", success)


@pytest.fixture
def episodes():
    return [record(HandWorld(), length, seed) for length, seed in ((14, 1), (9, 2), (21, 3))]


def test_a_perfect_world_is_perfect(episodes):
    result = open_loop(HandWorld(), episodes, horizons=(6, 1), stride=5, batch=4)
    assert [at.horizon for at in result.horizons] == [1, 6]
    assert result.episodes == 3
    for at in result.horizons:
        assert at.position_error < 1e-3
        assert at.position_error_copy > 10
        for camera in at.cameras.values():
            assert camera.world.psnr > 50
            assert camera.world.psnr > camera.ceiling.psnr > camera.copy.psnr
            assert camera.world.psnr_changed > camera.copy.psnr_changed
            assert camera.world.ssim > 0.999
    assert result.success.accuracy == 1
    assert result.success.recall == 1


def test_windows_are_those_that_reach_the_horizon(episodes):
    result = open_loop(HandWorld(), episodes, horizons=(1, 6, 11), stride=5)
    starts = [range(0, len(episode) - 1, 5) for episode in episodes]
    for at in result.horizons:
        reaching = sum(s + at.horizon < len(e) for e, own in zip(episodes, starts, strict=True) for s in own)
        assert at.windows == reaching
    assert open_loop(HandWorld(), episodes, horizons=(3, 400), stride=5).horizons[-1].horizon == 3


def test_errors_are_measured_against_the_recording(episodes):
    weak = open_loop(HandWorld(gain=0.08), episodes, horizons=(4,), stride=100)
    (at,) = weak.horizons
    expected = [np.linalg.norm(0.02 * episode.action[:4, :3].sum(axis=0)) for episode in episodes]
    assert at.windows == 3
    assert at.position_error == pytest.approx(1000 * np.mean(expected), rel=1e-4)
    assert at.cameras["front"].world.psnr < 45


def test_the_text_names_each_kind_of_frame(episodes):
    text = open_loop_text(open_loop(HandWorld(), episodes, horizons=(1,)))
    for word in ("world", "first frame kept", "tokenizer's best", "front", "above", "Success head"):
        assert word in text


def test_bad_arguments_are_named(episodes):
    with pytest.raises(ValueError, match=r"\[0, 3\]"):
        open_loop(HandWorld(), episodes, horizons=(0, 3))
    with pytest.raises(ValueError, match=r"stride .* 0"):
        open_loop(HandWorld(), episodes, stride=0)
    with pytest.raises(ValueError, match=r"30 steps.* 21 rows"):
        open_loop(HandWorld(), episodes, horizons=(30,))
