"""Captions and annotations of clips out of LeRobot datasets: of the right frames, brought to size as the frames are."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy import ndarray

from cosmos_sim.data.annotations import Annotations, write_annotations
from cosmos_sim.data.captions import EpisodeCaption, write_captions
from cosmos_sim.data.clip_annotations import fit_annotations, fit_widths
from cosmos_sim.data.clips import ClipRef, ClipSet, open_source
from cosmos_sim.data.images import fit, fit_labels
from cosmos_sim.data.lerobot import write_dataset
from cosmos_sim.types import Episode

SIZES = {"top": (48, 64), "wrist": (24, 40)}
STEPS = (12, 15, 11)
NAMES = ("background", "robot", "cube")


class All:
    """The whole of a batch."""

    def of(self, items: list[int]) -> list[int]:
        return items


def annotated(episode: int, steps: int) -> Annotations:
    """The depth of camera ``c`` in step ``k`` of episode ``i`` is 1000 i + 100 c + k; the right half is the robot."""
    depth = {
        camera: np.broadcast_to(
            (1000 * episode + 100 * c + np.arange(steps))[:, None, None], (steps, *SIZES[camera])
        ).astype(np.uint16)
        for c, camera in enumerate(SIZES)
    }
    segments = {camera: (np.indices(x.shape)[2] >= x.shape[2] // 2).astype(np.uint8) for camera, x in depth.items()}
    return Annotations(depth, segments, NAMES)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Episode 1 has no caption of its own, episode 2 one for a camera."""
    episodes = [
        Episode(
            frames={c: np.full((steps, *size, 3), 40 * k, np.uint8) for c, size in SIZES.items()},
            state=np.zeros((steps, 2), np.float32),
            action=np.zeros((steps, 3), np.float32),
            task="lift the cube",
            fps=10.0,
        )
        for k, steps in enumerate(STEPS)
    ]
    path = write_dataset(episodes, tmp_path_factory.mktemp("data") / "set")
    write_captions(path, {0: EpisodeCaption("a red cube"), 2: EpisodeCaption("a blue cube", {"wrist": "a gripper"})})
    for k, steps in enumerate(STEPS):
        write_annotations(path, k, annotated(k, steps))
    return path


def clip_set(path: Path, cache: Path, *, side_by_side: bool = True, **options: object) -> ClipSet:
    settings: dict = {"frames": 3, "fps": None, "sizes": [(24, 72)], "annotations": True, "every": 1, "held_out": 0.0}
    return ClipSet([open_source(path, side_by_side=side_by_side)], cache=cache / "cache", **{**settings, **options})


def drawn(clips: ClipSet, seeds: int = 8) -> list[ClipRef]:
    generators = (torch.Generator().manual_seed(seed) for seed in range(seeds))
    return [ref for generator in generators for ref in clips.draw(4, generator, images=False, part=All())]


def first_step(name: str) -> tuple[int, int]:
    """Episode and first step of a clip."""
    described, seconds = name.rsplit(": episode ", 1)[1].split("@")
    return int(described.split(",")[0]), round(float(seconds[:-1]) * 10)


@pytest.mark.parametrize(("fps", "stride"), [(None, 1), (5.0, 2)])
def test_annotations_are_those_of_the_frames(written: Path, tmp_path: Path, fps: float | None, stride: int) -> None:
    clips = clip_set(written, tmp_path, fps=fps)
    for ref in drawn(clips):
        clip = clips.load(ref)
        episode, start = first_step(clip.name)
        assert clips.views(ref) == (32, 40)
        assert clip.annotations is not None
        assert clip.annotations.names == NAMES
        for c, (camera, width) in enumerate(zip(SIZES, (32, 40), strict=True)):
            depth, segments = clip.annotations.depth[camera], clip.annotations.segments[camera]
            steps = 1000 * episode + 100 * c + start + stride * np.arange(3)
            np.testing.assert_array_equal(depth, np.broadcast_to(steps[:, None, None], (3, 24, width)))
            np.testing.assert_array_equal(segments, np.broadcast_to(np.arange(width) >= width // 2, (3, 24, width)))


def test_captions_are_of_the_episode_or_the_camera_or_else_the_task(written: Path, tmp_path: Path) -> None:
    joined = clip_set(written, tmp_path)
    assert joined.captions() == ["a blue cube", "a red cube", "lift the cube"]
    expected = {0: "a red cube", 1: "lift the cube", 2: "a blue cube"}
    for ref in drawn(joined):
        assert joined.caption(ref) == joined.load(ref).caption == expected[first_step(joined.name(ref))[0]]
    apart = clip_set(written, tmp_path, side_by_side=False, sizes=[(24, 32)], annotations=False)
    seen = {
        (first_step(apart.name(ref))[0], "wrist" in apart.name(ref), apart.caption(ref)) for ref in drawn(apart, 20)
    }
    assert seen == {
        (episode, wrist, "a gripper" if (episode, wrist) == (2, True) else caption)
        for episode, caption in expected.items()
        for wrist in (True, False)
    }
    ref = drawn(apart)[0]
    assert apart.load(ref).annotations is None
    assert apart.views(ref) == (32,)


@pytest.mark.filterwarnings("ignore:skipped a broken clip")
def test_a_clip_without_annotations_is_broken(written: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(written, tmp_path / "copy"))
    (path / "meta" / "annotations" / "episode_000001.npz").unlink()
    (path / "meta" / "annotations" / "episode_000002.npz").write_bytes(b"PK\3\4 nothing")
    clips = clip_set(path, tmp_path)
    with pytest.warns(UserWarning, match="has none of episode 1; cosmos-sim collect makes them with --annotate"):
        names = {clips.load_or_replace(ref).name for ref in drawn(clips)}
    assert {first_step(name)[0] for name in names} == {0}
    assert any("episode_000002.npz" in why for why in clips.skipped.values())
    shutil.rmtree(path / "meta" / "annotations")
    bare = clip_set(path, tmp_path / "bare")
    with (
        pytest.warns(UserWarning, match="skipped"),
        pytest.raises(ValueError, match=r"all 32 clips are broken.*--annotate"),
    ):
        bare.load_or_replace(drawn(bare)[0])


def test_annotations_of_another_length_are_refused(written: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(written, tmp_path / "copy"))
    for k in range(3):
        write_annotations(path, k, annotated(k, STEPS[k] - 1))
    clips = clip_set(path, tmp_path)
    with pytest.raises(ValueError, match=r"annotations of \d+ frames of top, wrist are needed, .* some of \d+ frames"):
        clips.load(drawn(clips)[0])


@pytest.mark.parametrize("size", [(48, 64), (24, 32), (30, 64), (96, 60), (25, 47)])
def test_labels_go_where_pixels_go(size: tuple[int, int]) -> None:
    """Against frames whose two colours fall apart at the middle: they agree but where those mix."""
    labels = (np.indices((2, 48, 64))[2] * 7 + np.indices((2, 48, 64))[1] * 3) // 200
    frames = np.repeat((labels * 60)[..., None], 3, axis=3).astype(np.uint8)
    shown, found = fit(frames, size)[..., 0].astype(int), fit_labels(labels.astype(np.uint16), size)
    assert found.shape == (2, *size)
    assert found.dtype == np.uint16
    assert np.mean(np.abs(shown - 60 * found) <= 30) > 0.97


@pytest.mark.parametrize(
    ("widths", "height", "size", "expected"),
    [
        ((128, 128), 128, (128, 256), (128, 128)),
        ((32, 40), 24, (48, 144), (64, 80)),
        ((60, 20), 40, (40, 40), (40, 0)),
        ((40, 40), 40, (80, 100), (50, 50)),
        ((100,), 50, (50, 80), (80,)),
    ],
)
def test_widths_of_cameras_side_by_side(
    widths: Sequence[int], height: int, size: tuple[int, int], expected: tuple[int, ...]
) -> None:
    assert fit_widths(widths, height, size) == expected
    frames = np.concatenate([np.full((1, height, w, 3), 200 * k, np.uint8) for k, w in enumerate(widths)], axis=2)
    shown: ndarray = fit(frames, size)[0, 0, :, 0]
    assert abs(int((shown < 100).sum()) - expected[0]) <= 1


def test_cameras_of_unequal_heights_stand_beside_each_other_as_their_frames_do() -> None:
    found = fit_annotations(annotated(1, 4), (48, 144))
    assert [x.shape for x in found.depth.values()] == [(4, 48, 64), (4, 48, 80)]
    assert np.unique(found.depth["wrist"][2]).tolist() == [1102]
