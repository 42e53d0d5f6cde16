import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hand_world import HandWorld

from cosmos_sim.cli import main
from cosmos_sim.data.lerobot import write_dataset
from cosmos_sim.data.store import EpisodeStore
from cosmos_sim.evaluation.inspection import reader_text
from cosmos_sim.evaluation.pose_reader import PoseNet, PoseReader, PoseReaderConfig
from cosmos_sim.evaluation.pose_recipe import PoseRecipe, PoseRecipeConfig
from cosmos_sim.training import TrainConfig, train
from cosmos_sim.types import Episode

SIZES = {"resolution": 32, "width": 4, "features": 8, "hidden": 16}


def wandering(seed: int, length: int) -> Episode:
    """A hand that is anywhere at any time; its second coordinate shows in the colour only."""
    position = np.random.default_rng(seed).uniform(-0.5, 0.5, (length, 3)).astype(np.float32)
    state = np.concatenate([position, np.full((length, 1), 7, np.float32)], axis=1)
    return Episode(HandWorld().draw(position), state, np.zeros((length, 4), np.float32), "raise the hand")


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("readers")
    return [
        write_dataset([wandering(10 * k + seed, 24 + k) for seed in range(6)], folder / name)
        for k, name in enumerate(("one", "two"))
    ]


@pytest.fixture(scope="module")
def stores(datasets: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[EpisodeStore]:
    cache = tmp_path_factory.mktemp("cache")
    return [EpisodeStore(path, cache=cache) for path in datasets]


def recipe(stores: list[EpisodeStore], **options) -> PoseRecipe:
    config = PoseRecipeConfig(("one", "two"), PoseReaderConfig(("above", "front"), **SIZES), **options)
    return PoseRecipe(config, stores, provenance={"data": "one, two"})


def test_a_reader_learns_to_read(stores: list[EpisodeStore], tmp_path: Path):
    config = TrainConfig(steps=120, lr=1e-2, warmup=5, ema=0.9, save_every=200, eval_every=200, device="cpu")
    figures = train(recipe(stores, batch_size=32, cell=0.2), config, tmp_path / "run")
    frames = HandWorld().draw(positions := np.random.default_rng(9).uniform(-0.4, 0.4, (40, 3)).astype(np.float32))
    reader = PoseReader.from_pretrained(tmp_path / "run" / "export")
    distance = 1000 * np.linalg.norm(reader.read(frames) - positions, axis=-1)
    blind = 1000 * np.linalg.norm(positions, axis=-1)
    assert np.median(distance) < 0.3 * np.median(blind)
    assert reader.figures == pytest.approx(figures)
    assert figures["frames"] == sum(len(store.rows(store.held_out)) for store in stores)
    assert f"{figures['median_mm']:.1f} mm" in reader_text(reader.figures)
    assert "real frames only" in (tmp_path / "run" / "export" / "README.md").read_text()


def test_batches_pair_frames_of_every_dataset_with_their_positions(stores: list[EpisodeStore]):
    batch = recipe(stores, batch_size=64, coarse=0.0, jitter=0.0).batch(3, torch.Generator().manual_seed(1))
    known = np.concatenate([store.state[store.rows(store.train), :3] for store in stores])
    first = len(stores[0].rows(stores[0].train))
    places = [int(np.flatnonzero((known == row).all(axis=1))[0]) for row in batch.position.numpy()]
    assert min(places) < first <= max(places)
    assert torch.equal(batch.jitter, torch.tensor([[1.0, 0.0]]).expand(64, 2))
    drawn = HandWorld().draw(batch.position.numpy())["front"]
    for image, own in zip(batch.frames["front"].numpy(), drawn, strict=True):
        # The video's compression and the resizing leave the mean colour.
        assert np.abs(image.mean(axis=(0, 1)) - own.mean(axis=(0, 1))).max() < 6


def test_crowded_places_are_drawn_less_often_than_they_are_crowded(stores: list[EpisodeStore]):
    fine = recipe(stores, cell=0.25)
    weights = np.diff(fine.edges, prepend=0)
    cells = [tuple(cell) for cell in np.floor(fine.position[fine.train_rows] / 0.25)]
    counts = np.array([cells.count(cell) for cell in cells])
    assert len(set(counts)) > 2
    assert np.allclose(weights * np.sqrt(counts), 1)


def test_coarse_samples_lose_their_detail(stores: list[EpisodeStore]):
    sharp, mixed = (
        recipe(stores, batch_size=16, coarse=c).batch(0, torch.Generator().manual_seed(0)) for c in (0.0, 0.5)
    )
    for camera, images in sharp.frames.items():
        assert torch.equal(images[8:], mixed.frames[camera][8:])
        assert not torch.equal(images[:8], mixed.frames[camera][:8])


def test_frames_of_any_size_and_bad_ones(tmp_path: Path):
    reader = PoseReader(PoseNet(PoseReaderConfig(("b", "a"), dim=2, **SIZES)), figures={})
    frames = {"a": np.zeros((70, 20, 44, 3), np.uint8), "b": np.zeros((70, 33, 16, 3), np.uint8)}
    assert reader.read(frames).shape == (70, 2)
    assert reader.read({camera: images[:0] for camera, images in frames.items()}).shape == (0, 2)
    with pytest.raises(ValueError, match="'b'"):
        reader.read({"a": frames["a"]})
    with pytest.raises(ValueError, match="float32"):
        reader.read({**frames, "a": frames["a"].astype(np.float32)})


@pytest.mark.parametrize(
    ("field", "value"), [("resolution", 40), ("width", 6), ("dim", 0), ("cameras", ()), ("cameras", ("a", "a"))]
)
def test_bad_sizes_are_named(field: str, value: object):
    with pytest.raises(ValueError, match=field):
        PoseReaderConfig(**{"cameras": ("a",), field: value})


def test_damaged_readers_are_refused(tmp_path: Path):
    reader = PoseReader(
        PoseNet(PoseReaderConfig(("a",), **SIZES)), figures={"median_mm": 1.0, "p90_mm": 2.0, "frames": 3.0}
    )
    reader.write(tmp_path)
    images = {"a": np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)}
    read = PoseReader.from_pretrained(tmp_path).read(images)
    np.testing.assert_allclose(read, reader.read(images), atol=5e-4)  # its weights are kept in half precision
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "format": 9}))
    with pytest.raises(ValueError, match="format 9"):
        PoseReader.from_pretrained(tmp_path)


def test_states_too_short_to_read_are_named(stores: list[EpisodeStore]):
    config = PoseRecipeConfig(("one", "two"), PoseReaderConfig(("front",), dim=5, **SIZES))
    with pytest.raises(ValueError, match="'one' has 4 state values, 5"):
        PoseRecipe(config, stores)


def test_train_reader_on_a_users_own_datasets(
    datasets: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    words = ["train", "reader", "--data", *map(str, datasets), "--out", str(tmp_path / "run"), "--cameras", "above"]
    words += ["--resolution", "32", "--width", "4", "--steps", "2", "--device", "cpu"]
    monkeypatch.setattr("sys.argv", ["cosmos-sim", *words])
    main(words)
    assert "held-out real frames" in capsys.readouterr().out
    reader = PoseReader.from_pretrained(tmp_path / "run" / "export")
    assert reader.cameras == ("above",)
    assert reader.metadata["data"] == "one (6 episodes), two (6 episodes)"
    for bad, message in ((["--wander", "3"], "wander=3"), ([], "nothing to learn from")):
        with pytest.raises(SystemExit):
            main(["train", "reader", "--out", str(tmp_path / "bad"), *bad])
        assert message in capsys.readouterr().err
