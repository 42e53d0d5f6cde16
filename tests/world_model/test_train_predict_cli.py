"""``cosmos-sim train predict``: a small network from nothing and on from there, and what is refused before a step."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_reason1
from tiny_clips import bridge_folder, robot_dataset, video_folder
from tiny_predict import DIT, tiny_wan

from cosmos_sim.cli import main
from cosmos_sim.cli.train.predict import defaults
from cosmos_sim.world_model.checkpoints.network import Network, save_ours
from cosmos_sim.world_model.checkpoints.stored import held
from cosmos_sim.world_model.dit import DiT
from cosmos_sim.world_model.predict_world import PredictWorld
from cosmos_sim.world_model.recipes.stages import training
from cosmos_sim.world_model.tokenizer import Tokenizer, TokenizerConfig
from cosmos_sim.world_model.tokenizer_folder import save_tokenizer

SMALL = "--network small --width 48 --blocks 2 --heads 2 --batch-size 2 --text-dropout 1"
FEW = "--steps 2 --warmup 1 --save-every 2 --eval-every 2 --log-every 1 --eval-clips 1 --samples 1 --sample-steps 1"
HERE = "--device cpu --autocast bf16 --prefetch 0 --workers 1"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of each kind, and both kinds of tokenizers."""
    folder = tmp_path_factory.mktemp("cli")
    video_folder(folder / "videos")
    bridge_folder(folder / "bridge")
    tiny_wan().save_pretrained(folder / "wan")
    config = TokenizerConfig(latent_channels=4, patch=2, encoder_width=4, decoder_width=4)
    save_tokenizer(Tokenizer(config), folder / "small")
    return folder


def run(place: Path, line: str, *, data: str = "videos", tokenizer: str = "wan", out: str = "out") -> Path:
    paths = ["--data", str(place / data), "--tokenizer", str(place / tokenizer), "--out", str(place / out)]
    main(["train", "predict", *paths, *f"{FEW} {HERE} {line}".split()])
    return place / out


def refused(place: Path, capsys: pytest.CaptureFixture[str], line: str, **paths: str) -> str:
    """The one line that says why; nothing was trained."""
    with pytest.raises(SystemExit) as stopped:
        run(place, line, out="refused", **paths)
    assert stopped.value.code == 2
    assert not (place / "refused" / "metrics.jsonl").exists()
    return capsys.readouterr().err


def test_stage_after_stage(place, capsys):
    """Images, then videos from what came of them; the second run knows its latents, and where it began."""
    images = run(place, f"--stage image-256p --size 32,48 {SMALL}", out="images")
    trained = json.loads((images / "run.json").read_text())
    assert trained["recipe_config"]["stage"]["frames"] == 1
    assert trained["train_config"]["ema_kind"] == "power"
    line = f"--stage 256p --size 32,48 --frames 5 --known 0 1 --network small --init {images / 'export'}"
    videos = run(place, f"{line} --batch-size 2 --images 0", out="stage2")
    recipe = json.loads((videos / "run.json").read_text())["recipe_config"]
    assert recipe["dit"]["model_channels"] == 48
    assert recipe["stage"]["known"] == [0.0, 1.0]
    assert str(images / "export") in (videos / "export" / "README.md").read_text()
    assert "loss/0.5" in capsys.readouterr().out


def test_a_robot_over_a_small_tokenizer(place):
    """No compression of time: 13 frames are 13 latents, with one action of 29 numbers each."""
    robot_dataset(place / "robot")
    out = run(
        place,
        f"--stage action --size 32,112 --frames 5 --side-by-side {SMALL}",
        data="robot",
        tokenizer="small",
        out="robot-out",
    )
    world = PredictWorld.from_pretrained(out / "export", device="cpu", dtype="float32")
    assert (world.spec.chunk, world.spec.action_dim, world.dit.config.action_dim) == (4, 29, 29)
    assert world.config.action_std is not None


def test_bridge_keeps_its_scaled_actions_and_an_adapter_is_trained(place):
    base = run(place, f"--stage action --size 32,48 {SMALL}", data="bridge", out="base")
    line = (
        f"--stage action --size 32,48 --network small --batch-size 2 --init {base / 'export'} --adapter dora --rank 2"
    )
    out = run(place, line, data="bridge", out="adapted")
    config = json.loads((out / "run.json").read_text())["recipe_config"]
    assert (config["normalise_actions"], config["adapter"]["kind"], config["adapter"]["rank"]) == (False, "dora", 2)
    assert (out / "export" / "adapter" / "adapter_config.json").is_file()
    assert PredictWorld.from_pretrained(out / "export", device="cpu").config.action_mean is None


@pytest.mark.parametrize(
    ("line", "data", "message"),
    [
        (f"--stage 480 {SMALL}", "videos", "did you mean '480p'"),
        ("--network predict2.5-2c", "videos", "did you mean 'predict2.5-2b'"),
        (f"--lr 0 {SMALL}", "videos", "lr must be positive, but is 0.0"),
        ("--size 32,48 --frames 9 --text-dropout 1", "videos", "latents of 4 channels, the network takes 16"),
        (f"--size 32,40 --frames 9 {SMALL}", "videos", "32x40 do not divide"),
        (f"--size 32,48 --frames 9 {SMALL}", "empty", "holds no video"),
        (f"--size 32,48 --frames 9 {SMALL}", "pictures", "video"),
        (f"--size 32,48 {SMALL}", "videos", "93"),
        (f"--stage action --size 32,48 {SMALL}", "videos", "actions"),
        (f"--size 32,48 --frames 9 --parallel.context 2 {SMALL}", "videos", "context=2"),
        (f"--size 32,48 --frames 9 --parallel.shard 4 {SMALL}", "videos", "shard=4"),
        (f"--size 32,48 --frames 9 --rank 4 {SMALL}", "videos", "rank would be ignored"),
        ("--size 32,48 --frames 9 --width 48", "videos", "width would be ignored"),
        (f"--size 32,48 --frames 9 --prepare-text {SMALL}", "videos", "prepare_text would do nothing"),
        ("--size 32,48 --frames 9 --network small --heads 3", "videos", "num_heads=3"),
    ],
)
def test_mistakes_are_told_in_a_line(place, capsys, line, data, message):
    for name in ("empty", "pictures"):
        (place / name).mkdir(exist_ok=True)
    for path in (place / "videos").glob("picture*"):
        (place / "pictures" / path.name).write_bytes(path.read_bytes())
    said = refused(place, capsys, line, data=data)
    assert message in said
    assert "Traceback" not in said


def test_captions_are_encoded_once_and_ahead(place, capsys, monkeypatch):
    """Three distinct captions; the encoder may be gone afterwards; several processes find them or are told how."""
    encoder = tiny_reason1.write(place / "encoder")
    config = replace(DIT, context_in_dim=tiny_reason1.WIDTH)
    weights = {name: held(tensor) for name, tensor in DiT(config).state_dict().items()}
    save_ours(Network(config, weights), place / "base")
    text = f"--text-encoder {encoder} --prompt-cache {place / 'prompts'}"
    line = f"--size 32,48 --frames 9 --network small --init {place / 'base'} --batch-size 2 {text}"
    monkeypatch.setenv("WORLD_SIZE", "2")
    said = refused(place, capsys, line)
    assert "3 captions are not encoded yet (first: 'a still life')" in said
    assert "--prepare-text" in said
    monkeypatch.delenv("WORLD_SIZE")
    run(place, f"{line} --prepare-text", out="never")
    assert not (place / "never").exists()
    assert len(list((place / "prompts").iterdir())) == 3
    shutil.rmtree(encoder)
    out = run(place, line, out="texts")
    assert len(list((place / "prompts").iterdir())) == 3
    assert json.loads((out / "run.json").read_text())["recipe_config"]["text"] == str(encoder)


def test_init_and_network_must_agree(place, capsys):
    base = run(place, f"--stage image-256p --size 32,48 {SMALL}", out="images")
    said = refused(place, capsys, f"--stage image-256p --size 32,48 --text-dropout 1 --init {base / 'export'}")
    assert "48 wide" in said
    assert "say network small" in said
    said = refused(place, capsys, f"--stage image-256p {SMALL} --init {base / 'export'}")
    assert "would be ignored" in said


def test_defaults_are_those_of_stage_and_network():
    tokens = ["--data", "x", "--stage=sft", "--network", "predict2.5-14b"]
    assert defaults(tokens) == {"train": training("sft", "predict2.5-14b")}
    assert defaults([])["train"].lr == 3e-5
