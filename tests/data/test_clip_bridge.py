"""Bridge in IRASim's layout: actions against matrices written out, frames against their states."""

import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy import ndarray

from cosmos_sim.data.clips import ClipRef, ClipSet, open_source
from cosmos_sim.data.sources.bridge import relative_actions

Encode = Callable[..., Path]
Numbers = Callable[[ndarray], list[int]]


class All:
    """The whole of a batch."""

    def of(self, items: list[int]) -> list[int]:
        return items


def matrix(roll: float, pitch: float, yaw: float) -> ndarray:
    (cr, sr), (cp, sp), (cy, sy) = ((math.cos(a), math.sin(a)) for a in (roll, pitch, yaw))
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def angles(m: ndarray) -> list[float]:
    return [
        math.atan2(m[2, 1], m[2, 2]),
        math.atan2(-m[2, 0], math.hypot(m[0, 0], m[1, 0])),
        math.atan2(m[1, 0], m[0, 0]),
    ]


def expected(states: ndarray, grippers: ndarray) -> ndarray:
    rows = []
    for (before, after), gripper in zip(pairwise(states), grippers[1:], strict=True):
        r, s = matrix(*before[3:6]), matrix(*after[3:6])
        rows.append([*(20 * r.T @ (after[:3] - before[:3])), *(20 * a for a in angles(r.T @ s)), gripper])
    return np.asarray(rows, np.float32)


def annotate(root: Path, split: str, name: str, videos: list[str], steps: int, **changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(len(name) + steps)
    state = np.concatenate([rng.normal(size=(steps, 3)) * 0.1, rng.uniform(-1.2, 1.2, (steps, 3))], axis=1)
    annotation = {
        "texts": [f"task of {name}"],
        "episode_id": name,
        "videos": [{"video_path": video} for video in videos],
        "state": state.tolist(),
        "continuous_gripper_state": rng.random(steps).tolist(),
        **changes,
    }
    file = root / "annotation" / split / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(annotation))
    return annotation


@pytest.fixture
def bridge(tmp_path: Path, encode: Encode) -> Path:
    root = tmp_path / "bridge"
    for split, name, steps in (("train", "0", 14), ("train", "1", 17), ("val", "0", 15), ("test", "0", 15)):
        videos = [f"videos/{split}/{name}/{camera}.mp4" for camera in ("rgb", "side")]
        encode(root / videos[0], steps, fps=4, size=(48, 64))
        encode(root / videos[1], steps, fps=4, size=(96, 64))
        annotate(root, split, name, videos, steps)
    return root


def clip_set(root: Path, cameras: list[str] | None = None, side_by_side: bool = False, **options: Any) -> ClipSet:
    source = open_source(root, cameras=cameras, side_by_side=side_by_side)
    settings: dict[str, Any] = {"frames": 5, "fps": 4, "sizes": [(48, 64)], "actions": True, "every": 1, **options}
    return ClipSet([source], cache=root.with_name("cache"), **settings)


def drawn(clips: ClipSet, seeds: int = 10) -> list[ClipRef]:
    generators = (torch.Generator().manual_seed(seed) for seed in range(seeds))
    return [ref for generator in generators for ref in clips.draw(4, generator, images=False, part=All())]


def test_actions_are_those_of_the_formula() -> None:
    rng = np.random.default_rng(0)
    states = np.concatenate([rng.normal(size=(30, 3)), rng.uniform(-1.5, 1.5, (30, 3))], axis=1)
    grippers = rng.random(30)
    actions = relative_actions(states, grippers)
    assert actions.dtype == np.float32
    np.testing.assert_allclose(actions, expected(states, grippers), atol=2e-5)


@pytest.mark.parametrize(("fps", "stride"), [(4, 1), (2, 2)])
def test_frames_and_actions_belong_together(bridge: Path, numbers: Numbers, fps: int, stride: int) -> None:
    clips = clip_set(bridge, cameras=["0"], fps=fps)
    assert clips.action_dim == 7
    names = set()
    for ref in drawn(clips):
        clip = clips.load(ref)
        name = clip.name.split("/")[-1].split(".json")[0]
        names.add(name)
        annotation = json.loads((bridge / "annotation" / "train" / f"{name}.json").read_text())
        rows = slice(ref.start, ref.start + 4 * stride + 1, stride)
        states, grippers = (
            np.asarray(annotation["state"])[rows],
            np.asarray(annotation["continuous_gripper_state"])[rows],
        )
        np.testing.assert_allclose(clip.action, expected(states, grippers), atol=2e-5)
        assert numbers(clip.frames) == [ref.start + k * stride for k in range(5)]
        assert clip.caption == f"task of {name}"
    assert names == {"0", "1"}


def test_validation_is_held_out_and_the_test_split_is_not_touched(bridge: Path) -> None:
    clips = clip_set(bridge)
    assert len(clips) == 2 * (14 - 4) + 2 * (17 - 4)
    assert {clips.name(ref).split("/annotation/")[1].split(",")[0] for ref in clips.held_out(50)} == {"val/0.json"}
    assert all("/annotation/train/" in clips.name(ref) for ref in drawn(clips))


def test_cameras_of_their_own_or_side_by_side(bridge: Path, numbers: Numbers) -> None:
    apart = {
        clips_name.split(", ")[1].split("@")[0] for clips_name in map(clip_set(bridge).name, drawn(clip_set(bridge)))
    }
    assert apart == {"camera 0", "camera 1"}
    clips = clip_set(bridge, side_by_side=True, sizes=[(48, 96)])  # 48x64, and 96x64 shrunk to 48x32
    ref = drawn(clips)[0]
    clip = clips.load(ref)
    assert clip.frames.shape == (5, 48, 96, 3)
    assert "cameras 0, 1@" in clip.name
    assert numbers(clip.frames[:, :, :64]) == numbers(clip.frames[:, :, 64:]) == list(range(ref.start, ref.start + 5))


def test_the_mean_action(bridge: Path) -> None:
    rows = []
    for name in ("0", "1"):
        annotation = json.loads((bridge / "annotation" / "train" / f"{name}.json").read_text())
        rows.append(expected(np.asarray(annotation["state"]), np.asarray(annotation["continuous_gripper_state"])))
    figures = clip_set(bridge, cameras=["0"]).action_statistics()
    np.testing.assert_allclose(figures.mean, np.concatenate(rows).mean(axis=0), atol=1e-4)
    assert figures.count == 13 + 16


def test_episodes_that_do_not_hold_together_are_named(bridge: Path, encode: Encode) -> None:
    good = "videos/train/0/rgb.mp4"
    state = np.zeros((14, 6))
    state[12, 4] = np.nan
    annotate(bridge, "train", "nan", [good], 14, state=state.tolist())
    annotate(bridge, "train", "long", [good], 15)
    annotate(bridge, "train", "lost", ["videos/none.mp4"], 14)
    annotate(bridge, "train", "bare", [good], 14, state=[[0.0, 1.0]] * 14)
    annotate(bridge, "train", "blind", [], 14)
    (bridge / "annotation" / "train" / "cut.json").write_text('{"state": [')
    (bridge / "annotation" / "train" / "list.json").write_text("[1]")
    with pytest.warns(UserWarning, match="skipped a broken clip"):
        clips = clip_set(bridge, cameras=["0"], frames=4)
    reasons = {name.split("/")[-1].split(".json")[0]: why for name, why in clips.skipped.items()}
    assert set(reasons) == {"long", "lost", "bare", "blind", "cut", "list"}
    assert "14 frames, there are 15 states" in reasons["long"]
    assert "missing" in reasons["lost"]
    assert "states of shape (14, 2)" in reasons["bare"]
    assert "0 videos, camera 0 is not among them" in reasons["blind"]
    with pytest.warns(UserWarning, match=r"nan.json, camera 0@\d.\d+s: action \d must be finite"):
        refs = drawn(clips, seeds=40)
    seen = {clips.name(ref) for ref in refs}
    assert {name for name in clips.skipped if "nan.json" in name} == {
        f"{bridge}/annotation/train/nan.json, camera 0@{start / 4:.3f}s" for start in (9, 10)
    }
    assert f"{bridge}/annotation/train/nan.json, camera 0@{8 / 4:.3f}s" in seen
    for ref in refs:
        action = clips.action(ref)
        assert action is not None
        assert np.isfinite(action).all()
    assert np.isfinite(clips.action_statistics().mean).all()


def test_what_cannot_be_is_refused(bridge: Path) -> None:
    with pytest.raises(ValueError, match="has 4 actions a second, which 3 frames a second do not divide"):
        clip_set(bridge, fps=3)
    with pytest.raises(ValueError, match=r"cameras of .* are numbers from 0, got \['rgb'\]"):
        clip_set(bridge, cameras=["rgb"])
    for file in (bridge / "annotation" / "train").glob("*"):
        file.unlink()
    with pytest.raises(ValueError, match=r"holds no episode: annotation/train"):
        clip_set(bridge)
