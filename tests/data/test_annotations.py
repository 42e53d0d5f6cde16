"""Depth and segments beside a dataset's videos."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cosmos_sim.data.annotations import Annotations, millimetres, read_annotations, write_annotations


def make(seed: int = 0) -> Annotations:
    rng = np.random.default_rng(seed)
    shapes = {"wrist": (3, 4, 5), "agentview": (3, 2, 7)}
    return Annotations(
        depth={camera: rng.integers(0, 2**16, shape, dtype=np.uint16) for camera, shape in shapes.items()},
        segments={camera: rng.integers(0, 3, shape, dtype=np.uint8) for camera, shape in shapes.items()},
        names=("background", "robot", "cube"),
    )


def test_what_is_written_is_read_and_the_bytes_are_repeatable(tmp_path: Path):
    first, second = make(1), make(2)
    for dataset in (tmp_path / "a", tmp_path / "b"):
        write_annotations(dataset, 3, first)
        write_annotations(dataset, 12, second)
    for episode, annotations in ((3, first), (12, second)):
        found = read_annotations(tmp_path / "a", episode)
        assert found is not None
        assert (found.names, found.cameras, len(found)) == (annotations.names, ("wrist", "agentview"), 3)
        for camera in annotations.cameras:
            np.testing.assert_array_equal(found.depth[camera], annotations.depth[camera])
            np.testing.assert_array_equal(found.segments[camera], annotations.segments[camera])
    assert read_annotations(tmp_path / "a", 4) is None
    names = [f"meta/annotations/episode_{episode:06d}.npz" for episode in (3, 12)] + ["meta/segments.json"]
    assert sorted(p.relative_to(tmp_path / "a").as_posix() for p in (tmp_path / "a").rglob("*.*")) == names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    with np.load(tmp_path / "a" / names[0]) as arrays:
        np.testing.assert_array_equal(arrays["depth.agentview"], first.depth["agentview"])


def test_masks_metres_and_parts():
    annotations = make()
    np.testing.assert_array_equal(annotations.mask("wrist", "cube"), annotations.segments["wrist"] == 2)
    np.testing.assert_allclose(annotations.metres("wrist") * 1000, annotations.depth["wrist"], rtol=1e-6)
    np.testing.assert_array_equal(annotations.select([2, 0]).depth["wrist"], annotations.depth["wrist"][[2, 0]])
    np.testing.assert_array_equal(
        annotations.select(slice(1, None)).segments["agentview"], annotations.segments["agentview"][1:]
    )
    with pytest.raises(ValueError, match=r"no segment 'dish'; there are background, robot, cube"):
        annotations.mask("wrist", "dish")


def test_depth_in_millimetres_is_rounded_and_cut():
    np.testing.assert_array_equal(millimetres(np.array([0.0, 0.0126, 1.2344, 70.0])), [0, 13, 1234, 65535])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": {}}, "same cameras"),
        ({"names": ("background", "robot")}, "shows segment 2, but only 2 have names"),
        ({"names": ("a", "a", "b")}, "different names"),
        ({"segments": {k: v.astype(np.int64) for k, v in make().segments.items()}}, "uint8, got uint16 and int64"),
        ({"segments": make().segments | {"wrist": np.zeros((3, 5, 4), np.uint8)}}, r"got \(3, 4, 5\) and \(3, 5, 4\)"),
        ({"depth": make().depth | {"wrist": np.zeros((2, 4, 5), np.uint16)}}, "of camera 'wrist' must both be t h w"),
    ],
)
def test_annotations_that_are_wrong(change: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        replace(make(), **change)


def test_other_names_and_broken_files_are_named(tmp_path: Path):
    write_annotations(tmp_path, 0, make())
    with pytest.raises(ValueError, match="names them"):
        write_annotations(tmp_path, 1, replace(make(), names=("background", "robot", "dish")))
    file = tmp_path / "meta" / "annotations" / "episode_000000.npz"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"episode_000000.npz' does not hold annotations"):
        read_annotations(tmp_path, 0)
    (tmp_path / "meta" / "segments.json").write_text(json.dumps(["background"]))
    with pytest.raises(ValueError, match=r"segments.json' must hold"):
        read_annotations(tmp_path, 0)
    (tmp_path / "meta" / "segments.json").unlink()
    with pytest.raises(ValueError, match="which names its segments, is not"):
        read_annotations(tmp_path, 0)
