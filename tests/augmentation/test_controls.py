import cv2
import numpy as np
import pytest
import torch
from torchvision.transforms import functional as transforms
from torchvision.transforms.functional import InterpolationMode

from cosmos_sim.augmentation.controls import (
    BLUR_PRESETS,
    EDGE_PRESETS,
    blur,
    depth_frames,
    edge,
    random_blur,
    random_edge,
    segment_frames,
)

EDGES = {"very_low": (20, 50), "low": (50, 100), "medium": (100, 200), "high": (200, 300), "very_high": (300, 400)}
BLURS = {"very_low": (1, 4), "low": (4, 4), "medium": (2, 10), "high": (1, 16), "very_high": (4, 16)}


@pytest.fixture(scope="module")
def frames():
    """Three frames of shapes in colours and a little noise: edges of every strength."""
    rng = np.random.default_rng(5)
    video = np.empty((3, 50, 71, 3), np.uint8)
    for t, image in enumerate(video):
        image[:] = np.linspace(40, 130, 71)[None, :, None]
        cv2.circle(image, (20 + 4 * t, 22), 13, (200, 60, 90), -1)
        cv2.rectangle(image, (44, 12), (60, 40 + t), (90, 120, 105), -1)
    return np.clip(video + rng.normal(0, 6, video.shape), 0, 255).astype(np.uint8)


def small_and_large(image, factor):
    """Torchvision's bicubic resizing of one image, as the original calls it."""
    height, width = image.shape[:2]
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    for size in ((int(height / factor), int(width / factor)), (height, width)):
        tensor = transforms.resize(tensor, size, interpolation=InterpolationMode.BICUBIC, antialias=True)
    return tensor.permute(1, 2, 0).numpy()


def test_the_presets_are_those_of_the_original():
    assert EDGES == EDGE_PRESETS
    assert {**BLURS, "none": (1, 1)} == BLUR_PRESETS


@pytest.mark.parametrize("preset", EDGES)
def test_edges_are_opencvs(frames, preset):
    found = edge(frames, preset)
    for image, edges in zip(frames, found, strict=True):
        expected = cv2.Canny(image, *EDGES[preset])
        assert 0 < (expected > 0).mean() < 0.6 or preset == "very_high"
        np.testing.assert_array_equal(edges, np.stack([expected] * 3, axis=-1))


@pytest.mark.parametrize("preset", BLURS)
def test_blur_is_opencvs(frames, preset):
    area, coarse = BLURS[preset]
    found = blur(frames, preset)
    for image, blurred in zip(frames, found, strict=True):
        shrunk = cv2.resize(image, (71 // area, 50 // area), interpolation=cv2.INTER_AREA)
        filtered = cv2.bilateralFilter(shrunk, 30, 150, 100)
        expected = small_and_large(cv2.resize(filtered, (71, 50), interpolation=cv2.INTER_LINEAR), coarse)
        np.testing.assert_array_equal(blurred, expected)


def test_no_blur_is_the_same_video_and_another_array(frames):
    found = blur(frames, "none")
    np.testing.assert_array_equal(found, frames)
    assert not np.shares_memory(found, frames)


def test_defaults_are_the_papers(frames):
    np.testing.assert_array_equal(edge(frames), edge(frames, "medium"))
    np.testing.assert_array_equal(blur(frames), blur(frames, "very_low"))


def test_random_edges_stay_within_their_thresholds(frames):
    tried = {}
    for lower in range(20, 100):
        for gap in range(50, 150):
            tried.setdefault(cv2.Canny(frames[0], lower, lower + gap).tobytes(), []).append((lower, gap))
    seen = set()
    for seed in range(40):
        found = random_edge(frames, seed)
        np.testing.assert_array_equal(found, random_edge(frames, seed))
        matches = tried[found[0, ..., 0].copy().tobytes()]
        others = [[cv2.Canny(image, low, low + gap).tobytes() for image in frames[1:]] for low, gap in matches]
        assert [image[..., 0].copy().tobytes() for image in found[1:]] in others
        seen.add(found.tobytes())
    assert len(seen) > 30


def test_random_blur_is_one_draw_for_all_frames(frames):
    still = np.stack([frames[0]] * 3)
    kinds = set()
    for seed in range(30):
        found = random_blur(still, seed)
        np.testing.assert_array_equal(found, random_blur(still, seed))
        assert (found[0] == found[1]).all()
        assert (found[0] == found[2]).all()
        kinds.add(found.tobytes())
    assert len(kinds) > 25


def test_random_blur_takes_detail_away_at_any_size(frames):
    for video in (frames, frames[:, :6, :9]):
        for seed in range(6):
            found = random_blur(video, seed)
            assert found.shape == video.shape
            if video is frames:
                assert (
                    np.abs(np.diff(found.astype(int), axis=2)).mean()
                    < np.abs(np.diff(video.astype(int), axis=2)).mean()
                )


def test_depth_is_bright_where_near_over_the_whole_clip():
    depth = np.array([[[1.0, 2.0, 4.0]], [[3.0, 1.5, 5.0]]], np.float32)
    expected = [[[255, 191, 64]], [[128, 223, 0]]]
    np.testing.assert_array_equal(depth_frames(depth), np.stack([expected] * 3, axis=-1))
    np.testing.assert_array_equal(depth_frames((depth * 1000).astype(np.uint16)), depth_frames(depth))
    np.testing.assert_array_equal(depth_frames(depth * 7 + 2), depth_frames(depth))


def test_unknown_depth_is_farthest_and_changes_nothing_else():
    depth = np.array([[[1.0, 0.0, 2.0], [np.inf, np.nan, 3.0]]], np.float32)
    np.testing.assert_array_equal(depth_frames(depth)[0, ..., 0], [[255, 0, 128], [0, 0, 0]])
    assert not depth_frames(np.zeros((2, 3, 4), np.float32)).any()


def test_colours_of_segments_are_stable_apart_and_drawn():
    ids = np.random.default_rng(2).integers(0, 12, (4, 6, 5)).astype(np.uint8)
    found = segment_frames(ids, 3)
    assert not found[ids == 0].any()
    colours = np.array([found[ids == k][0] for k in range(12)], int)
    np.testing.assert_array_equal(found, colours[ids])
    apart = np.linalg.norm(colours[:, None] - colours[None], axis=-1)[np.triu_indices(12, 1)]
    assert apart.min() > 60
    np.testing.assert_array_equal(segment_frames(ids[1:2, 2:], 3), found[1:2, 2:])
    assert (segment_frames(ids, 4)[ids == 1][0] != colours[1]).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: edge(f, "medum"), "unknown preset of edges 'medum': did you mean 'medium'"),
        (lambda f: blur(f, "much"), "unknown preset of blur 'much': choose from none, very_low"),
        (lambda f: edge(f[..., 0]), "uint8 of t h w 3"),
        (lambda f: blur(f.astype(float)), "got float64"),
        (lambda f: blur(f[:, :12], "high"), "12x71 pixels cannot be shrunk by 16"),
        (lambda f: depth_frames(f), "depth must be t h w"),
        (lambda f: segment_frames(f[..., 0].astype(int), 1), "uint8 of t h w, got int64"),
    ],
)
def test_wrong_use_is_named(frames, call, message):
    with pytest.raises(ValueError, match=message):
        call(frames)
