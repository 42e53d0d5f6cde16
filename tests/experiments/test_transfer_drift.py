"""Long videos of a world of random weights: that every chunk is measured as it is."""

import json
from pathlib import Path

import numpy as np
import pytest
import small_transfer as small

from cosmos_sim.augmentation.control_spec import ControlSpec
from cosmos_sim.data.annotations import Annotations, write_annotations
from cosmos_sim.data.captions import EpisodeCaption, write_captions
from cosmos_sim.data.lerobot import write_dataset
from cosmos_sim.data.split import held_out
from cosmos_sim.metrics.quality import sharpness
from cosmos_sim.types import Episode
from cosmos_sim.world_model.denoise import SamplingConfig
from cosmos_sim.world_model.load_transfer import load_transfer, pack_transfer

VIEWS = ("agentview", "wrist")
NAMES = ("background", "robot", "cube")
SIZE = (32, 32)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten episodes of four frames, annotated and with captions."""
    rng = np.random.default_rng(0)

    def images(*shape: int) -> dict[str, np.ndarray]:
        return {view: rng.integers(0, 256, (4, *SIZE, *shape), np.uint8) for view in VIEWS}

    rest = (np.zeros((4, 2), np.float32), np.zeros((4, 3), np.float32))
    path = write_dataset([Episode(images(3), *rest, "look") for _ in range(10)], tmp_path_factory.mktemp("d") / "data")
    for index in range(10):
        depth = {view: rng.integers(300, 2000, (4, *SIZE), np.uint16) for view in VIEWS}
        write_annotations(path, index, Annotations(depth, {v: x % 3 for v, x in images().items()}, NAMES))
    write_captions(path, {index: EpisodeCaption(f"a robot arm {index}") for index in range(10)})
    return path


@pytest.fixture
def world(tmp_path: Path) -> Path:
    exports = small.write_exports(tmp_path / "exports")
    changes = {"size": small.SIZE, "views": VIEWS, "chunk": 5, "sampling": SamplingConfig(steps=1, guidance=0.0)}
    branches = {kind: exports / kind for kind in ("edge", "blur")}
    pack_transfer(tmp_path / "world", model=exports / "base", branches=branches, changes=changes)
    return tmp_path / "world"


def test_every_chunk_is_measured(load, dataset, world, tmp_path, monkeypatch, capsys):
    module = load("transfer_drift")
    words = ["--data", str(dataset), "--world", str(world), "--chunks", "6", "--episodes", "1", "--device", "cpu"]
    words += ["--json", str(tmp_path / "drift.json"), "--picture", str(tmp_path / "drift.svg")]
    monkeypatch.setattr("sys.argv", ["transfer_drift.py", *words])
    module.main()
    found = json.loads((tmp_path / "drift.json").read_text())
    assert list(found["rows"]) == ["edge", "blur", "default"]
    assert found["episodes"] == list(held_out(10))[:1]
    for rows in found["rows"].values():
        (row,) = rows
        assert {name: len(curve) for name, curve in row.items()} == dict.fromkeys(row, 6)
        ratio = np.divide(row["quality"], row["real"])
        np.testing.assert_allclose(row["rnds"], ratio / ratio[0])
        assert row["colour"][0] == 0 < row["colour"][-1]
    assert (tmp_path / "drift.svg").read_text().count("<polyline") == 3
    assert "| default |" in capsys.readouterr().out


def test_a_chunk_is_beside_its_own_part_of_the_source(load, dataset, world):
    """The source forwards and backwards: of four frames 0 1 2 3 2 | 1 0 1 2 | 3 2 1 0 in chunks of five, one shared."""
    module = load("transfer_drift")
    transfer = load_transfer(world, device="cpu", dtype="float32")
    seen = []

    def judge(frames: np.ndarray) -> float:
        seen.append(frames)
        return sharpness(frames)

    module.drift(transfer, dataset, 3, [ControlSpec("edge")], judge, chunks=3, steps=None)
    made, real = np.concatenate(seen[::2]), np.concatenate(seen[1::2])
    assert [len(part) for part in seen[1::2]] == [5, 4, 4]
    assert made.shape == real.shape == (13, 32, 64, 3)
    for k, source in enumerate((0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0)):
        np.testing.assert_array_equal(real[k], real[(0, 1, 2, 3)[source]])
    assert (real[0] != real[1]).any()
    (dataset / "meta" / "annotations" / "episode_000004.npz").unlink()
    with pytest.raises(ValueError, match="no annotations or no caption"):
        module.drift(transfer, dataset, 4, [ControlSpec("edge")], judge, chunks=3, steps=None)
