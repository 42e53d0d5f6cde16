"""Each fault of a generator is caught by its checks, at limits that were set on good videos alone."""

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
from moving_scene import DarkRobot, relight, scene
from numpy import ndarray
from scipy.stats import pearsonr

from cosmos_sim.augmentation import checks
from cosmos_sim.augmentation.checks import View, score_variant
from cosmos_sim.augmentation.limits import Limits, read_limits, set_limits, widened, write_limits
from cosmos_sim.data.segments import Segments

Frames = Mapping[str, ndarray]
LOOKS = [
    {"table": table, "cube": cube}
    for table in ((190, 180, 170), (120, 160, 130), (150, 150, 200))
    for cube in ((220, 60, 60), (40, 60, 220), (240, 200, 40))
]


def seen(frames: Frames) -> dict[str, View]:
    reader = DarkRobot()
    return {camera: View(video, reader.segments(video, ("robot", "cube"))) for camera, video in frames.items()}


@pytest.fixture(scope="module")
def limits() -> Limits:
    """Set on the same motion in other colours: what a perfect generator gives."""
    rng = np.random.default_rng(0)
    scores = []
    for episode in range(4):
        source = seen(scene(episode))
        for look in LOOKS[1:]:
            real = {camera: relight(video, rng.uniform(0.85, 1.1)) for camera, video in scene(episode, **look).items()}
            scores.append(score_variant(source, seen(real)))
    return set_limits(scores)


def shifted(frames: Frames) -> Frames:
    return {camera: np.roll(video, 9, axis=2) for camera, video in frames.items()}


def frozen(frames: Frames) -> Frames:
    return {camera: np.repeat(video[:1], len(video), axis=0) for camera, video in frames.items()}


def late(frames: Frames) -> Frames:
    return {camera: np.concatenate([video[:1].repeat(4, axis=0), video[:-4]]) for camera, video in frames.items()}


def swapped(frames: Frames) -> Frames:
    """Each camera shows what the other saw, stretched to its size."""
    names = list(frames)
    sizes = {name: frames[name].shape[2:0:-1] for name in names}
    return {
        name: np.stack([cv2.resize(image, sizes[name]) for image in frames[other]])
        for name, other in zip(names, names[::-1], strict=True)
    }


def flickering(frames: Frames) -> Frames:
    rng = np.random.default_rng(1)
    return {
        camera: np.stack([np.clip(image * rng.uniform(0.8, 1.1), 0, 255).astype(np.uint8) for image in video])
        for camera, video in frames.items()
    }


def two_scenes(frames: Frames) -> Frames:
    return {**frames, "hand": scene(9, table=(120, 160, 130), cube=(40, 60, 220))["hand"]}


def without_cube(frames: Frames) -> Frames:
    return {
        camera: np.where((video == (40, 60, 220)).all(3, keepdims=True), video[:1, -1:, -1:], video)
        for camera, video in frames.items()
    }


def blurred_robot(frames: Frames) -> Frames:
    return {
        camera: np.stack([cv2.GaussianBlur(image, (9, 9), 3) for image in video]) for camera, video in frames.items()
    }


def test_a_good_variant_passes(limits: Limits) -> None:
    for look in LOOKS[1:]:
        assert limits.faults(score_variant(seen(scene(9)), seen(scene(9, **look)))) == []


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        (shifted, "front.mask_iou"),
        (shifted, "front.object_iou"),
        (frozen, "front.motion"),
        (frozen, "front.mask_iou"),
        (late, "hand.motion"),
        (swapped, "front.mask_iou"),
        (flickering, "front.flicker"),
        (two_scenes, "view_colour"),
        (without_cube, "front.object_iou"),
        (blurred_robot, "front.edge_f1"),
    ],
)
def test_every_fault_is_caught(limits: Limits, fault: Callable[[Frames], Frames], check: str) -> None:
    variant = scene(9, table=(120, 160, 130), cube=(40, 60, 220))
    if fault is two_scenes:
        variant = scene(9, table=(120, 160, 130), cube=(240, 200, 40))
    faults = limits.faults(score_variant(seen(scene(9)), seen(fault(variant))))
    assert any(text.startswith(f"{check} ") for text in faults), faults


def test_the_same_video_scores_best() -> None:
    scores = score_variant(seen(scene(3)), seen(scene(3)))
    assert {name.rpartition(".")[2] for name in scores} == set(checks.CHECKS) - {"actions"}
    for name, value in scores.items():
        assert value == pytest.approx(1.0 if checks.CHECKS[name.rpartition(".")[2]] == "higher" else 0.0, abs=0.02)


def test_mask_iou_is_of_the_worst_frames() -> None:
    truth = np.zeros((20, 6, 9), bool)
    truth[:, 1:4, 2:6] = True
    estimate = truth.copy()
    estimate[4, :, 4:] = False
    estimate[7, 1] = False
    assert checks.mask_iou(truth, estimate) == pytest.approx((6 / 12 + 8 / 12) / 2)
    assert checks.mask_iou(truth & False, estimate) is None


def test_motion_is_pearsons_correlation_of_the_changes() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 256, (4, 8, 24, 3), dtype=np.uint8) for _ in range(2))
    blocks = [
        np.sqrt(np.abs(np.diff(v.astype(float), axis=0)).reshape(3, 8, 3, 8, 3).mean(axis=(1, 3, 4))) for v in (a, b)
    ]
    assert checks.motion_agreement(a, b) == pytest.approx(pearsonr(*(x.ravel() for x in blocks)).statistic, abs=1e-5)
    assert checks.motion_agreement(a[:1].repeat(4, 0), b) is None


def test_flicker_is_the_change_where_nothing_moves() -> None:
    still = np.full((5, 20, 30, 3), 100, np.uint8)
    still[:, :, 15:] += np.arange(5, dtype=np.uint8)[:, None, None, None] * 20
    variant = np.full_like(still, 90)
    variant[1::2] += 4
    robot = np.zeros((5, 20, 30), bool)
    assert checks.flicker(still, variant, robot) == pytest.approx(4.0)
    assert checks.flicker(still, variant, ~robot) is None


def test_actions_are_read_off_the_variant() -> None:
    rng = np.random.default_rng(0)
    actions = rng.normal(size=(20, 3)).astype(np.float32)
    views = seen(scene(1))

    def reader(offset: float) -> checks.InverseDynamics:
        return lambda frames: actions + np.float32(offset) * actions.std(axis=0)

    good = score_variant(views, views, actions=actions, inverse_dynamics=reader(0.0))
    bad = score_variant(views, views, actions=actions, inverse_dynamics=reader(1.5))
    assert (good["actions"], bad["actions"]) == (pytest.approx(0.0), pytest.approx(1.5))
    assert set_limits([good]).faults(bad) == ["actions 1.5, at most 0"]
    with pytest.raises(ValueError, match="needs the episode's actions"):
        score_variant(views, views, inverse_dynamics=reader(0.0))


def test_limits_reject_the_share_that_was_chosen_beforehand() -> None:
    rng = np.random.default_rng(0)
    scores = [{"front.mask_iou": float(a), "front.flicker": float(b)} for a, b in rng.random((1000, 2))]
    limits = set_limits(scores, rejected=0.1)
    assert limits.worst["front.mask_iou"] == pytest.approx(0.05, abs=0.02)
    assert limits.worst["front.flicker"] == pytest.approx(0.95, abs=0.02)
    assert 0.07 < np.mean([bool(limits.faults(one)) for one in scores]) <= 0.1
    assert not any(set_limits(scores, rejected=0).faults(one) for one in scores)


def test_limits_go_half_of_the_way_to_what_they_are_there_to_find() -> None:
    limits = Limits({"front.mask_iou": 0.8, "hand.mask_iou": 0.6, "front.flicker": 2.0, "view_colour": 30.0})
    shifted = [{"front.mask_iou": iou, "hand.mask_iou": 0.9, "front.flicker": 99.0} for iou in (0.1, 0.4, 0.5)]
    found = widened(limits, {"mask_iou": shifted, "flicker": [{"front.flicker": 6.0}], "view_colour": []})
    assert found.worst == {
        "front.mask_iou": pytest.approx((0.8 + 0.4) / 2),
        "hand.mask_iou": 0.6,  # which does not see it
        "front.flicker": pytest.approx(4.0),
        "view_colour": 30.0,
    }
    assert "half of the way" in found.origin["widened"]


def test_limits_come_back_from_their_file(tmp_path: Path) -> None:
    limits = set_limits([{"front.mask_iou": 0.75, "view_colour": 3.0}], origin={"dataset": "x"})
    write_limits(limits, tmp_path / "checks.json")
    assert read_limits(tmp_path / "checks.json") == limits
    assert limits.faults({"front.mask_iou": float("nan"), "view_colour": 3.5}) == [
        "front.mask_iou nan, at least 0.75",
        "view_colour 3.5, at most 3",
    ]
    (tmp_path / "checks.json").write_text('{"worst": {"front.mask_ou": 1}, "origin": {}}')
    with pytest.raises(ValueError, match=r"checks.json.*unknown check 'front.mask_ou'"):
        read_limits(tmp_path / "checks.json")
    with pytest.raises(ValueError, match="at least one real video"):
        set_limits([])


def test_other_cameras_or_sizes_are_refused() -> None:
    views = seen(scene(0))
    with pytest.raises(ValueError, match="the variant shows front, its source front, hand"):
        score_variant(views, {"front": views["front"]})
    small = View(views["front"].frames[:, :8], Segments(np.zeros((20, 8, 80), np.uint8), ("background", "robot")))
    with pytest.raises(ValueError, match="camera 'front' has frames"):
        score_variant(views, {**views, "front": small})
