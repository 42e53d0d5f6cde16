"""Commands end to end: a network learns captions without an encoder's weights, then branches stand beside it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_clips import robot_dataset

from cosmos_sim.cli import main
from cosmos_sim.data.annotations import Annotations, write_annotations
from cosmos_sim.data.captions import EpisodeCaption, write_captions
from cosmos_sim.data.video import SequentialVideo
from cosmos_sim.world_model.checkpoints.control import open_control
from cosmos_sim.world_model.checkpoints.source import open_source
from cosmos_sim.world_model.tokenizer import Tokenizer, TokenizerConfig
from cosmos_sim.world_model.tokenizer_folder import save_tokenizer
from cosmos_sim.world_model.words import find_words

CAMERAS = {"head": (32, 48), "left": (32, 40), "right": (32, 32)}
DATA = "--side-by-side --size 32,120 --frames 5 --images 0 --known .5 .5 --batch-size 2 --network small"
FEW = "--steps 2 --warmup 1 --save-every 2 --eval-every 2 --log-every 1 --eval-clips 1 --samples 1 --sample-steps 1"
HERE = "--device cpu --autocast bf16 --prefetch 0 --workers 1"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data with captions and annotations, and a network that was trained on them."""
    folder = tmp_path_factory.mktemp("control")
    robot_dataset(folder / "robot")
    scenes = ("a red cube", "a blue cube", "a grey dish. the light is dim")
    write_captions(folder / "robot", {k: EpisodeCaption(scene) for k, scene in enumerate(scenes)})
    rng = np.random.default_rng(0)
    for k in range(3):
        depth = {c: rng.integers(300, 900, (16, *size)).astype(np.uint16) for c, size in CAMERAS.items()}
        segments = {c: rng.integers(0, 3, (16, *size)).astype(np.uint8) for c, size in CAMERAS.items()}
        write_annotations(folder / "robot", k, Annotations(depth, segments, ("background", "robot", "cube")))
    config = TokenizerConfig(latent_channels=4, patch=2, encoder_width=4, decoder_width=4)
    save_tokenizer(Tokenizer(config), folder / "tokenizer")
    paths = [
        "--data",
        str(folder / "robot"),
        "--tokenizer",
        str(folder / "tokenizer"),
        "--out",
        str(folder / "predict"),
    ]
    size = "--text-encoder words --width 48 --blocks 3 --heads 2 --sample-guidance 1.5"
    main(["train", "predict", *paths, *f"{size} {DATA} {FEW} {HERE}".split()])
    return folder


def control(place: Path, kind: str, more: str = "", *, out: str = "out") -> Path:
    paths = ["--data", str(place / "robot"), "--base", str(place / "predict" / "export"), "--out", str(place / out)]
    main(["train", "control", *paths, "--control", kind, *f"{DATA} {FEW} {HERE} {more}".split()])
    return place / out


def refused(place: Path, capsys: pytest.CaptureFixture[str], kind: str, more: str) -> str:
    """The one line that says why; nothing was trained."""
    with pytest.raises(SystemExit) as stopped:
        control(place, kind, more, out="refused")
    assert stopped.value.code == 2
    assert not (place / "refused" / "metrics.jsonl").exists()
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


def test_a_network_that_was_trained_with_words_generates_with_them(place, tmp_path):
    """It knows the captions of all episodes, and warns of words that none had."""
    export = place / "predict" / "export"
    words = find_words(export)
    assert words is not None
    assert words.config.vocabulary == ("a", "blue", "cube", "dim", "dish", "grey", "is", "light", "red", "the")
    line = "--size 32,120 --frames 5 --steps 1 --guidance 2 --sampling predict2.5-2b-pretrained --device cpu"
    with pytest.warns(UserWarning, match="'purple'"):
        main(["generate", "--model", str(export), "--prompt", "a purple cube", "--out", str(tmp_path), *line.split()])
    with SequentialVideo(tmp_path / "video.mp4") as video:
        assert np.stack(list(video)).shape == (5, 32, 120, 3)
    request = json.loads((tmp_path / "video.json").read_text())
    assert "negative_prompt" not in request, "text left out, as in training"


def test_training_goes_on_with_its_words(place):
    paths = ["--data", str(place / "robot"), "--tokenizer", str(place / "tokenizer"), "--out", str(place / "more")]
    base = ["--init", str(place / "predict" / "export"), "--text-encoder", "words"]
    write_captions(place / "robot", {k: EpisodeCaption("a green frog") for k in range(3)})
    try:
        main(["train", "predict", *paths, *base, *f"{DATA} {FEW} {HERE}".split()])
    finally:
        write_captions(place / "robot", {k: EpisodeCaption("a red cube") for k in range(3)})
    words = find_words(place / "more" / "export")
    assert words is not None
    assert {"frog", "cube", "dish"} <= set(words.config.vocabulary)


@pytest.mark.parametrize("kind", ["edge", "blur", "depth", "seg"])
def test_a_branch_of_each_kind(place, kind, capsys):
    out = control(place, kind, "--blocks 2", out=f"branch-{kind}")
    found = open_control(open_source(out / "export"), base=open_source(place / "predict" / "export"))
    ((name, branch),) = found.branches.items()
    assert (name, branch.config.blocks, branch.config.every) == (kind, 2, 2)
    assert "without_loss" in capsys.readouterr().out
    recipe = json.loads((out / "run.json").read_text())["recipe_config"]
    assert (recipe["control"], recipe["text"], recipe["variants"]) == (kind, "words", 4)


def test_a_branch_goes_on_from_another(place, tmp_path, capsys):
    first = control(place, "edge", "--blocks 2", out="first")
    stay = "--lr 1e-12 --rare 0.7"
    again = control(place, "edge", f"--init {first / 'export'} {stay}", out="again")
    weights = [load_file(run / "export" / "model.safetensors") for run in (first, again)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-9) for name in weights[0])
    recipe = json.loads((again / "run.json").read_text())["recipe_config"]
    assert (recipe["branch"]["blocks"], recipe["rare"]) == (2, 0.7)
    capsys.readouterr()
    assert "is a branch for edge, not for seg" in refused(place, capsys, "seg", f"--init {first / 'export'}")
    assert "blocks=3 would be ignored" in refused(place, capsys, "edge", f"--init {first / 'export'} --blocks 3")
    assert "rare must lie in [0, 1], not 2.0" in refused(place, capsys, "edge", "--rare 2")


@pytest.mark.parametrize(
    ("kind", "more", "message"),
    [
        ("edges", "", "did you mean 'edge'"),
        ("edge", "--text-encoder words", "text_encoder=words would be ignored"),
        ("edge", "--network predict2.5-2b", "say network small"),
        ("edge", "--stage action", "stage='action' is of data with actions"),
        ("edge", "--variants 0", "variants must be at least 1, not 0"),
        ("edge", "--size 32,116", "32x116 do not divide"),
    ],
)
def test_mistakes_are_told_in_a_line(place, capsys, kind, more, message):
    assert message in refused(place, capsys, kind, more)


def test_words_are_of_the_network_that_was_trained_with_them(tmp_path, capsys):
    paths = ["--data", str(tmp_path), "--base", str(tmp_path), "--out", str(tmp_path / "o")]
    with pytest.raises(SystemExit):
        main(["train", "control", *paths, "--control", "edge", *f"{DATA} --text-encoder words".split()])
    assert "holds no encoder of words" in capsys.readouterr().err


def test_depth_needs_annotations(place, capsys, tmp_path):
    robot_dataset(tmp_path / "robot")
    paths = [
        "--data",
        str(tmp_path / "robot"),
        "--base",
        str(place / "predict" / "export"),
        "--out",
        str(tmp_path / "o"),
    ]
    with pytest.raises(SystemExit), pytest.warns(UserWarning, match="--annotate"):
        main(["train", "control", *paths, "--control", "depth", *f"{DATA} {FEW} {HERE}".split()])
    assert "clips are broken" in capsys.readouterr().err
