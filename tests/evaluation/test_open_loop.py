import itertools

import numpy as np
import pytest
from hand_world import LIFTED, HandWorld
from skimage.metrics import structural_similarity

from cosmos_sim.envs.success import SuccessRule
from cosmos_sim.evaluation.inspection import open_loop_text, success_text
from cosmos_sim.evaluation.open_loop import open_loop
from cosmos_sim.evaluation.pose_reader import PoseNet, PoseReader, PoseReaderConfig
from cosmos_sim.types import Episode


def record(world: HandWorld, length: int, seed: int) -> Episode:
    """``length`` rows of a recording in which the hand moves by ``world.gain`` times the action, exactly."""
    generator = np.random.default_rng(seed)
    action = generator.uniform(-1, 1, (length, 4)).astype(np.float32)
    action[:, 2] = np.abs(action[:, 2])
    path = np.cumsum(np.vstack([generator.uniform((-0.3, -0.3, 0.1), (0, 0, 0.3)), world.gain * action[:, :3]]), axis=0)
    success = path[1:, 2] > LIFTED
    return Episode(world.draw(path[:-1]), path[:-1].astype(np.float32), action, "raise the hand", success)


@pytest.fixture
def episodes():
    return [record(HandWorld(), length, seed) for length, seed in ((14, 1), (9, 2), (21, 3))]


def test_a_perfect_world_is_perfect(episodes):
    result = open_loop(HandWorld(), iter(episodes), horizons=(6, 1), stride=5, batch=4, min_path=0)
    assert [at.horizon for at in result.horizons] == [1, 6]
    assert result.episodes == 3
    for at in result.horizons:
        assert at.position_error.median < 1e-3
        assert at.position_error_copy.mean > 10
        assert at.latent_l2.world < at.latent_l2.ceiling < at.latent_l2.copy
        for camera in at.cameras.values():
            assert camera.world.psnr > 50
            assert camera.world.psnr > camera.ceiling.psnr > camera.copy.psnr
            assert camera.world.psnr_changed > camera.copy.psnr_changed
            assert camera.world.ssim > 0.999
            assert camera.closed > 1
    assert result.success.frames.accuracy == 1
    assert result.success.frames.recall == 1


def test_figures_are_pooled_over_the_windows_that_moved(episodes):
    """The same numbers, from whole stacks of frames, beside scikit-image and NumPy."""
    world, horizon, far = HandWorld(gain=0.08), 4, 0.33
    result = open_loop(world, episodes, horizons=(horizon,), stride=3, batch=2, min_path=far)
    starts, truths, imagined, moved = [], [], [], []
    for episode in episodes:
        for start in range(0, len(episode) - horizon, 3):
            state = episode.state[start : start + horizon + 1]
            path = sum(np.linalg.norm(b - a) for a, b in itertools.pairwise(state))
            moved.append(path >= far)
            if moved[-1]:
                starts.append(state[0])
                truths.append(state[-1])
                imagined.append(state[0] + 0.08 * episode.action[start : start + horizon, :3].sum(axis=0))
    (at,) = result.horizons
    assert at.windows == sum(moved) > 3
    assert at.left_out == len(moved) - sum(moved) > 3
    start, truth, own = world.draw(np.stack(starts)), world.draw(np.stack(truths)), world.draw(np.stack(imagined))

    def decibels(a, b):
        return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))

    for camera, found in at.cameras.items():
        true, best = truth[camera], world.reconstruct(truth)[camera]
        assert found.world.psnr == pytest.approx(decibels(true, own[camera]))
        assert found.copy.psnr == pytest.approx(decibels(true, start[camera]))
        assert found.ceiling.psnr == pytest.approx(decibels(true, best))
        expected = (found.world.psnr - found.copy.psnr) / (found.ceiling.psnr - found.copy.psnr)
        assert found.closed == pytest.approx(expected)
        clear = (np.abs(true.astype(float) - start[camera]) > 24).any(axis=-1)
        assert found.world.psnr_changed == pytest.approx(decibels(true[clear], own[camera][clear]))
        each = [
            structural_similarity(
                a, b, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
            )
            for a, b in zip(true, own[camera], strict=True)
        ]
        assert found.world.ssim == pytest.approx(np.mean(each), abs=1e-3)
    distance = 1000 * np.linalg.norm(np.stack(imagined) - np.stack(truths), axis=-1)
    assert at.position_error.median == pytest.approx(np.median(distance), rel=1e-4)
    assert at.position_error.mean == pytest.approx(np.mean(distance), rel=1e-4)

    def latent(frames):
        return world.encode({camera: images[:, None] for camera, images in frames.items()}).double()

    assert at.latent_l2.copy == pytest.approx(float((latent(start) - latent(truth)).square().mean()))
    assert at.latent_l2.world == pytest.approx(float((latent(own) - latent(truth)).square().mean()))


def test_windows_are_those_that_reach_the_horizon(episodes):
    result = open_loop(HandWorld(), episodes, horizons=(1, 6, 11), stride=5, min_path=0)
    starts = [range(0, len(episode) - 1, 5) for episode in episodes]
    for at in result.horizons:
        reaching = sum(s + at.horizon < len(e) for e, own in zip(episodes, starts, strict=True) for s in own)
        assert at.windows == reaching
        assert at.left_out == 0
    assert open_loop(HandWorld(), episodes, horizons=(3, 400), stride=5).horizons[-1].horizon == 3


def test_batches_do_not_change_what_is_imagined(episodes):
    world = HandWorld(noise=0.01)
    one, many = (open_loop(world, episodes, horizons=(2, 7), stride=4, batch=batch) for batch in (1, 16))
    for a, b in zip(one.horizons, many.horizons, strict=True):
        assert a.windows == b.windows
        assert a.position_error.median == pytest.approx(b.position_error.median)
        assert a.cameras["above"].world.psnr == pytest.approx(b.cameras["above"].world.psnr)
    assert one.success == many.success


def test_the_success_head_is_asked_for_whole_episodes_up_to_the_worlds_horizon(episodes):
    """The hand always falls short: what is solved late in the recording is not solved in the world."""
    weak = HandWorld(gain=0.06)
    result = open_loop(weak, episodes, horizons=(3,), stride=100, rule=SuccessRule(frames=1)).success
    truth, verdict = [], []
    for episode in episodes:
        steps = min(len(episode), weak.spec.horizon)
        height = episode.state[0, 2] + 0.06 * np.cumsum(episode.action[:steps, 2])
        truth.append(episode.success[:steps])
        verdict.append(height > LIFTED)
    assert result.frames.total == 12 + 9 + 12
    assert result.frames.true_positive == sum((t & v).sum() for t, v in zip(truth, verdict, strict=True))
    assert result.frames.false_negative == sum((t & ~v).sum() for t, v in zip(truth, verdict, strict=True)) > 0
    assert result.ever.false_negative == sum(t.any() and not v.any() for t, v in zip(truth, verdict, strict=True))
    assert result.last.total == result.ever.total == 3
    assert "balanced accuracy" in success_text(None, result)


def test_a_reader_measures_imagined_and_true_frames(episodes):
    """An untrained reader reads nonsense, but the same nonsense of the same frames."""
    config = PoseReaderConfig(("above", "front"), resolution=32, width=4, features=8)
    reader = PoseReader(PoseNet(config), figures={"median_mm": 1.0, "p90_mm": 2.0, "frames": 3.0})
    (at,) = open_loop(HandWorld(), episodes, horizons=(4,), stride=50, reader=reader).horizons
    assert at.read_error.median == pytest.approx(at.read_error_real.median, rel=1e-3)
    truth = np.stack([episode.state[4] for episode in episodes])
    frames = {camera: np.stack([e.frames[camera][4] for e in episodes]) for camera in ("front", "above")}
    expected = 1000 * np.median(np.linalg.norm(reader.read(frames) - truth, axis=-1))
    assert at.read_error_real.median == pytest.approx(expected)


def test_the_text_names_each_kind_of_frame(episodes):
    text = open_loop_text(open_loop(HandWorld(), episodes, horizons=(2, 5)))
    for word in ("world", "first frame kept", "tokenizer's best", "front", "above", "gap closed", "moved 5 cm"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 110


def test_bad_arguments_are_named(episodes):
    with pytest.raises(ValueError, match=r"\[0, 3\]"):
        open_loop(HandWorld(), episodes, horizons=(0, 3))
    with pytest.raises(ValueError, match=r"stride .* 0"):
        open_loop(HandWorld(), episodes, stride=0)
    with pytest.raises(ValueError, match=r"min_path .* -0\.1"):
        open_loop(HandWorld(), episodes, min_path=-0.1)
    with pytest.raises(ValueError, match=r"30 steps.* 21 rows"):
        open_loop(HandWorld(), episodes, horizons=(30,))
