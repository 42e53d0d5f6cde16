import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cosmos_sim.cli import main
from cosmos_sim.data.annotated import AnnotatedFrames, load_annotated
from cosmos_sim.data.annotations import FARTHEST, Annotations, write_annotations
from cosmos_sim.data.lerobot import write_dataset
from cosmos_sim.training import TrainConfig, train
from cosmos_sim.types import Episode
from cosmos_sim.world_model.annotator import Annotator, AnnotatorConfig, AnnotatorNet
from cosmos_sim.world_model.recipes.annotator import AnnotatorRecipe, AnnotatorRecipeConfig, worn

SIZES = {"top": (32, 48), "side": (40, 32)}
NAMES = ("background", "plate", "cube", "ghost")
WIDTHS = (4, 8, 12)
TRAIN = TrainConfig(
    steps=2, warmup=1, save_every=99, eval_every=99, log_every=50, device="cpu", autocast="fp32", prefetch=0
)


def scene(rng: np.random.Generator, steps: int = 9) -> tuple[Episode, Annotations]:
    """A red cube over a grey plate: the nearer it is, the brighter; the upper rows are infinitely far."""
    frames, depth, segments = {}, {}, {}
    near = rng.uniform(0.3, 1.2, steps)
    for camera, (height, width) in SIZES.items():
        images = np.full((steps, height, width, 3), 20, np.uint8)
        far = np.full((steps, height, width), FARTHEST, np.uint16)
        ids = np.zeros((steps, height, width), np.uint8)
        images[:, 10:], far[:, 10:], ids[:, 10:] = 120, 1500, 1
        for k in range(steps):
            y, x = rng.integers(12, height - 12), rng.integers(0, width - 12)
            at = (k, slice(y, y + 10), slice(x, x + 12))
            images[at] = (250 - 150 * near[k], 10, 10)
            far[at], ids[at] = round(1000 * near[k]), 2
        frames[camera], depth[camera], segments[camera] = images, far, ids
    state = np.zeros((steps, 2), np.float32)
    return Episode(frames, state, np.zeros((steps, 3), np.float32), "look"), Annotations(depth, segments, NAMES)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve episodes, of which the last has no annotations."""
    rng = np.random.default_rng(0)
    scenes = [scene(rng) for _ in range(12)]
    path = write_dataset([episode for episode, _ in scenes], tmp_path_factory.mktemp("annotated") / "data")
    for index, (_, known) in enumerate(scenes[:-1]):
        write_annotations(path, index, known)
    return path


@pytest.fixture(scope="module")
def frames(dataset: Path) -> AnnotatedFrames:
    return load_annotated([dataset], per_episode=5)


def recipe(frames: AnnotatedFrames, **options) -> AnnotatorRecipe:
    return AnnotatorRecipe(AnnotatorRecipeConfig(("data",), AnnotatorConfig(frames.names, WIDTHS), **options), frames)


def test_moments_are_spread_over_the_annotated_episodes(frames: AnnotatedFrames):
    assert frames.frames["top"].shape == (55, 32, 48, 3)
    assert frames.depth["side"].shape == frames.segments["side"].shape == (55, 40, 32)
    assert sorted([*frames.train_rows, *frames.held_out_rows]) == list(range(55))
    assert len(frames.held_out_rows) % 5 == 0
    assert len(frames.held_out_rows)
    for camera, ids in frames.segments.items():  # frames and annotations of the same moments, up to compression
        red = frames.frames[camera][..., 0].astype(int) - frames.frames[camera][..., 1] > 35
        assert (red == (ids == 2)).mean() > 0.97


def test_an_annotator_learns_classes_and_depth(frames: AnnotatedFrames, tmp_path: Path):
    config = TrainConfig(
        steps=300, lr=1e-2, warmup=5, ema=0.9, save_every=999, eval_every=999, device="cpu", autocast="fp32"
    )
    figures = train(recipe(frames, batch_size=16, tint=0.05, damage=0.3), config, tmp_path / "run")
    assert figures["iou/cube"] > 0.7
    assert figures["iou/plate"] > 0.9
    assert "iou/ghost" not in figures  # of what never occurs nothing is known
    assert figures["iou"] == pytest.approx(np.mean([figures[f"iou/{n}"] for n in NAMES[:3]]))
    reader = Annotator.from_pretrained(tmp_path / "run" / "export")
    assert reader.figures == pytest.approx(figures)
    episode, known = scene(np.random.default_rng(9))
    reading = reader.read(episode.frames["side"])
    cube = known.mask("side", "cube")
    true, read = known.metres("side")[cube], reading.depth[cube]
    blind = np.exp(np.log(true).mean())
    assert np.abs(read / true - 1).mean() < 0.5 * np.abs(blind / true - 1).mean()
    found = reader.segments(episode.frames["side"], ["cube", "plate"])
    assert found.names == ("background", "cube", "plate")
    np.testing.assert_array_equal(found.ids == 1, reading.segments.mask("cube"))
    np.testing.assert_array_equal(found.ids == 2, reading.segments.mask("plate"))
    np.testing.assert_array_equal(reader.depth(episode.frames["side"]), reading.depth)
    video = recipe(frames).sample(torch.Generator())["top"]
    assert video.shape == (len(frames.held_out_rows), 32, 5 * 48, 3)


def test_the_loss_is_weighed_and_leaves_out_what_has_no_depth(frames: AnnotatedFrames):
    built = recipe(frames, batch_size=7, tint=0.0, damage=0.0, depth=0.0)
    count = sum(np.bincount(ids[frames.train_rows].reshape(-1), minlength=4) for ids in frames.segments.values())
    weights = np.array([0 if n == 0 else (n / count.sum()) ** -0.5 for n in count])
    weights /= (weights * count / count.sum()).sum()
    np.testing.assert_allclose(built.class_weights.numpy(), weights, rtol=1e-5)
    batch = built.batch(1, torch.Generator().manual_seed(0))
    assert batch["frames"].shape == (7, 40, 32, 3)
    losses = built.loss(batch, 1, torch.Generator().manual_seed(0))
    logits, log_depth = built.net(batch["frames"].permute(0, 3, 1, 2) / 127.5 - 1)
    expected = F.cross_entropy(logits, batch["segments"], torch.from_numpy(weights).float())
    assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    known = batch["depth"] < FARTHEST
    error = (log_depth - (batch["depth"] / 1000).log())[known].abs() / built.net.scale
    huber = torch.where(error < 0.05, error**2 / 0.1, error - 0.025)
    assert losses["depth"].item() == pytest.approx(huber.mean().item(), rel=1e-4)
    logarithms = np.concatenate(
        [np.log(d[frames.train_rows][d[frames.train_rows] < FARTHEST] / 1000) for d in frames.depth.values()]
    )
    assert built.net.centre.item() == pytest.approx(logarithms.mean(), rel=1e-4)
    assert built.net.scale.item() == pytest.approx(logarithms.std(), rel=1e-4)


def test_worn_images_differ_by_what_was_asked():
    images = torch.rand((64, 3, 13, 18), generator=torch.Generator().manual_seed(1)) * 1.6 - 0.8

    def wear(**options: float) -> torch.Tensor:
        return worn(images, generator=torch.Generator().manual_seed(2), **options)

    assert torch.equal(wear(tint=0.0, damage=0.0), images)
    hurt = (wear(tint=0.0, damage=0.5) != images).flatten(1).any(1)
    assert 20 <= hurt.sum() <= 44
    tinted = wear(tint=0.1, damage=0.0)
    assert 0.02 < (tinted - images).abs().max() <= 0.2
    # A tint is one line for each channel of an image: the second differences along it vanish.
    x, y = images[3, 1].flatten().double(), tinted[3, 1].flatten().double()
    slope = (y[1] - y[0]) / (x[1] - x[0])
    assert torch.allclose(y, y[0] + slope * (x - x[0]), atol=1e-4)


@pytest.mark.parametrize("size", [(16, 24), (17, 22), (9, 5)])
def test_images_of_any_size(size: tuple[int, int]):
    net = AnnotatorNet(AnnotatorConfig(NAMES, WIDTHS))
    reading = Annotator(net, figures={}).read(np.random.default_rng(0).integers(0, 256, (3, *size, 3), dtype=np.uint8))
    assert reading.depth.shape == reading.segments.ids.shape == (3, *size)
    assert (reading.depth > 0).all()


def test_frames_are_read_one_by_one():
    images = np.random.default_rng(0).integers(0, 256, (18, 16, 20, 3), dtype=np.uint8)
    reader = Annotator(AnnotatorNet(AnnotatorConfig(NAMES, WIDTHS)), figures={})
    together = reader.read(images)
    np.testing.assert_allclose(together.depth[17:], reader.read(images[17:]).depth, rtol=1e-4)
    assert reader.read(images[:0]).depth.shape == (0, 16, 20)


def test_mistakes_are_named(frames: AnnotatedFrames, dataset: Path, tmp_path: Path):
    reader = Annotator(AnnotatorNet(AnnotatorConfig(NAMES, WIDTHS)), figures={"iou": 0.5})
    images = np.zeros((2, 16, 24, 3), np.uint8)
    with pytest.raises(ValueError, match="did you mean 'cube'"):
        reader.segments(images, ["cubes"])
    with pytest.raises(ValueError, match="float32"):
        reader.read(images.astype(np.float32))
    with pytest.raises(ValueError, match="'ghost'"):
        AnnotatorRecipe(AnnotatorRecipeConfig(("data",), AnnotatorConfig(NAMES[:3])), frames)
    with pytest.raises(ValueError, match="-1"):
        AnnotatorRecipeConfig(("data",), AnnotatorConfig(NAMES), tint=-1)
    with pytest.raises(ValueError, match="6"):
        AnnotatorConfig(NAMES, (4, 6))
    with pytest.raises(ValueError, match="per_episode"):
        load_annotated([dataset], per_episode=0)
    reader.write(tmp_path)
    assert "background, plate" in (tmp_path / "README.md").read_text()
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "format": 7}))
    with pytest.raises(ValueError, match="format 7"):
        Annotator.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"kind": "annotator", "format": 1}')
    with pytest.raises(ValueError, match="lacks the field 'names'"):
        Annotator.from_pretrained(tmp_path)


def test_data_that_do_not_fit_are_named(dataset: Path, tmp_path: Path):
    episode, known = scene(np.random.default_rng(3))
    plain = write_dataset([episode], tmp_path / "plain")
    with pytest.raises(ValueError, match="--annotate"):
        load_annotated([plain])
    other = write_dataset([episode], tmp_path / "other")
    write_annotations(other, 0, Annotations(known.depth, known.segments, (*NAMES[:3], "ghoul")))
    with pytest.raises(ValueError, match="ghoul"):
        load_annotated([dataset, other])
    short = write_dataset([episode], tmp_path / "short")
    write_annotations(short, 0, known.select(slice(0, 4)))
    with pytest.raises(ValueError, match=r"\(4, 32, 48\) for the frames"):
        load_annotated([short])


def test_train_annotator_on_a_users_own_dataset(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    words = ["train", "annotator", "--data", str(dataset), "--out", str(tmp_path / "run"), "--cameras", "side"]
    words += ["--widths", "4", "8", "--steps", "2", "--device", "cpu", "--per-episode", "2"]
    monkeypatch.setattr("sys.argv", ["cosmos-sim", *words])
    main(words)
    assert "iou/cube" in capsys.readouterr().out
    reader = Annotator.from_pretrained(tmp_path / "run" / "export")
    assert reader.names == NAMES
    assert reader.metadata["data"] == "data"
