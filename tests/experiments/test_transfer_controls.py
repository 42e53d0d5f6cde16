"""The small Table 12, of a world of random weights: that it is measured, kept and told as it is."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from cosmos_sim.data.annotations import Annotations, read_annotations, write_annotations
from cosmos_sim.data.captions import EpisodeCaption, write_captions
from cosmos_sim.data.lerobot import write_dataset
from cosmos_sim.data.split import held_out
from cosmos_sim.metrics.control import depth_si_rmse
from cosmos_sim.types import Episode
from cosmos_sim.world_model.annotator import Annotator, AnnotatorConfig, AnnotatorNet
from cosmos_sim.world_model.control import KINDS

VIEWS = ("agentview", "wrist")
NAMES = ("background", "robot", "cube")
EPISODES, FRAMES = 30, 9


def episode(seed: int) -> tuple[Episode, Annotations]:
    rng = np.random.default_rng(seed)
    frames = {view: rng.integers(0, 256, (FRAMES, 16, 16, 3), dtype=np.uint8) for view in VIEWS}
    ids = {view: rng.integers(0, len(NAMES), (FRAMES, 16, 16), dtype=np.uint8) for view in VIEWS}
    depth = {view: rng.integers(300, 2000, (FRAMES, 16, 16), dtype=np.uint16) for view in VIEWS}
    rest = (np.zeros((FRAMES, 2), np.float32), np.zeros((FRAMES, 3), np.float32))
    return Episode(frames, *rest, "look"), Annotations(depth, ids, NAMES)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = [episode(seed) for seed in range(EPISODES)]
    path = write_dataset([shown for shown, _ in made], tmp_path_factory.mktemp("data") / "scenes")
    for index, (_, known) in enumerate(made):
        write_annotations(path, index, known)
    write_captions(path, {index: EpisodeCaption(f"a robot arm and cube {index}") for index in range(EPISODES)})
    return path


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Branches of all kinds beside a network of random weights, and an annotator that has learned nothing."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "world_model")
    import test_transfer_folder as tiny

    from cosmos_sim.world_model.load_transfer import pack_transfer

    exports, annotator = tmp_path / "exports", tmp_path / "annotator"
    tiny.save_ours(tiny.parts(KINDS).with_base(), exports / "base")
    tiny.save_tokenizer(tiny.tiny_tokenizer(), exports / "base" / "tokenizer")
    tiny.Words(tiny.WORDS).save_pretrained(exports / "base" / "text")
    branches = {}
    for kind, branch in tiny.parts(KINDS).branches.items():
        branches[kind] = exports / kind
        tiny.save_branch(kind, branch, exports / kind)
    annotator.mkdir()
    Annotator(AnnotatorNet(AnnotatorConfig(NAMES, (4, 8))), figures={}).write(annotator)
    pack_transfer(
        tmp_path / "world", model=exports / "base", branches=branches, annotator=annotator, changes=tiny.SETTINGS
    )
    return tmp_path / "world"


def test_the_table_is_of_what_was_made(
    load,
    dataset: Path,
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    module = load("transfer_controls")
    words = ["--data", str(dataset), "--world", str(world), "--clips", "2", "--frames", "7", "--device", "cpu"]
    words += ["--out", str(tmp_path / "out"), "--json", str(tmp_path / "table.json")]
    monkeypatch.setattr("sys.argv", ["transfer_controls.py", *words])
    module.main()
    found = json.loads((tmp_path / "table.json").read_text())
    assert list(found["rows"]) == ["real", "none", *KINDS, "uniform"]
    assert found["clips"] == list(held_out(EPISODES))[:2]
    real = found["rows"]["real"]
    assert real["blur SSIM"]["mean"] == real["edge F1"]["mean"] == real["sharpness of real"]["mean"] == 1
    assert found["rows"]["none"]["edge F1"]["mean"] < 1
    assert found["rows"]["edge"]["blur SSIM"]["clips"] != found["rows"]["none"]["blur SSIM"]["clips"]
    text = capsys.readouterr().out
    assert "| uniform |" in text

    (clip, _) = module.held_out_clips(dataset, 2, frames=7, cameras=VIEWS)
    known = read_annotations(dataset, clip.episode)
    assert known is not None
    np.testing.assert_array_equal(clip.known.depth["wrist"], known.depth["wrist"][1:8])
    assert clip.caption == f"a robot arm and cube {clip.episode}"
    reader = Annotator.from_pretrained(world / "annotator")
    errors = [depth_si_rmse(truth=clip.known.metres(view), estimate=reader.depth(clip.frames[view])) for view in VIEWS]
    assert real["depth si-RMSE"]["clips"][0] == pytest.approx(np.mean(errors))

    files = sorted((tmp_path / "out").rglob("*.npz"))
    assert len(files) == 2 * 6
    made = {file: file.stat().st_mtime_ns for file in files}
    module.main()  # of what was kept
    assert {file: file.stat().st_mtime_ns for file in files} == made
    again = json.loads((tmp_path / "table.json").read_text())
    assert again["rows"] == found["rows"]


def test_intervals_bars_and_ranks(load):
    module = load("transfer_controls")
    rng = np.random.default_rng(0)
    level = {"none": 0.2, "edge": 0.6, "blur": 0.25, "depth": 0.5, "seg": 0.1, "uniform": 0.55, "real": 1.0}

    def clips(name: str) -> list[dict[str, float]]:
        noise = rng.normal(0, 0.02, 12)
        return [
            {metric: sign * (level[name] + e) for metric, sign in module.METRICS.items()} | {module.QUALITY: 1.0}
            for e in noise
        ]

    scores = {name: clips(name) for name in ("real", *module.WEIGHTS)}
    found = module.figures(scores)
    values = np.array([clip["edge F1"] for clip in scores["edge"]])
    reference = stats.bootstrap((values,), np.mean, method="percentile", rng=1, n_resamples=20_000)
    cell = found["rows"]["edge"]["edge F1"]
    assert cell["mean"] == pytest.approx(values.mean())
    assert cell["low"] == pytest.approx(reference.confidence_interval.low, abs=0.003)
    bar = next(value for key, value in found.items() if key.startswith("each control"))
    assert bar == {"edge": True, "blur": True, "depth": True, "seg": False}
    assert set(found["rank of the uniform mix"].values()) == {2}
    apart = [a["edge F1"] - b["edge F1"] for a, b in zip(scores["edge"], scores["none"], strict=True)]
    assert cell["over none"]["mean"] == pytest.approx(np.mean(apart))


def test_clips_that_lack_something_are_named(load, dataset: Path):
    module = load("transfer_controls")
    with pytest.raises(ValueError, match="not 99"):
        list(module.held_out_clips(dataset, 99, frames=7, cameras=VIEWS))
    with pytest.raises(ValueError, match="fewer than 10 frames"):
        list(module.held_out_clips(dataset, 1, frames=10, cameras=VIEWS))
