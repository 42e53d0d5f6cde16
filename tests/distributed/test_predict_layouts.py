"""``cosmos-sim train predict`` on several processes: the losses, the figures and the export are those of one."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from processes import free_ports, launch, ranked
from safetensors.torch import load_file

from cosmos_sim.cli import main
from cosmos_sim.training.video import write_mp4
from cosmos_sim.world_model.wan import WanConfig, WanTokenizer

WAN = WanConfig(
    width=4,
    latent_channels=4,
    multipliers=(1, 1, 2, 2),
    num_res_blocks=1,
    latents_mean=(0.0,) * 4,
    latents_std=(1.0,) * 4,
)
LINE = (
    "--stage text2world --size 32,48 --frames 9 --images 0.4 --network small --width 48 --blocks 2 --heads 2 "
    "--batch-size 4 --text-dropout 1 --lr 1e-2 --steps 4 --warmup 1 --save-every 2 --eval-every 4 --log-every 1 "
    "--eval-clips 2 --samples 1 --sample-steps 1 --device cpu --autocast fp32 --workers 1"
)
LAYOUTS = {
    "fsdp": "--parallel.checkpointing full",
    "context": "--parallel.context 2 --parallel.checkpointing selective",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predict")
    (folder / "videos").mkdir()
    rng = np.random.default_rng(0)
    for k in range(4):
        frames = np.kron(rng.integers(0, 255, (21, 4, 6, 3)), np.ones((1, 8, 8, 1))).astype(np.uint8)
        write_mp4(folder / "videos" / f"{k}.mp4", frames, 5.0)
    torch.manual_seed(0)
    WanTokenizer(WAN).save_pretrained(folder / "wan")
    return folder


def train(place: Path, out: str, *, more: str = "", adapter: str = "") -> None:
    paths = ["--data", str(place / "videos"), "--tokenizer", str(place / "wan"), "--out", str(place / out)]
    main(["train", "predict", *paths, *f"{LINE} {more} {adapter}".split()])


def train_as(rank: int, port: int, place: Path, out: str, more: str, adapter: str) -> None:
    torch.set_num_threads(1)
    with ranked(rank, 2, port):
        train(place, out, more=more, adapter=adapter)


@pytest.mark.parametrize(("name", "adapter"), [("fsdp", "--adapter dora --rank 3"), ("context", "")])
def test_two_processes_are_as_one(place, name, adapter):
    one, two = f"one-{name}", f"two-{name}"
    train(place, one, adapter=adapter)
    launch(train_as, 2, free_ports(1)[0], place, two, LAYOUTS[name], adapter)
    rows = [
        [json.loads(line) for line in (place / run / "metrics.jsonl").read_text().splitlines()] for run in (one, two)
    ]
    assert len(rows[0]) == 5
    for alone, shared in zip(*rows, strict=True):
        assert shared == pytest.approx(alone, rel=1e-5)
    exports = [load_file(place / run / "export" / "model.safetensors") for run in (one, two)]
    for key, value in exports[0].items():
        # As a whole: where a gradient is nothing but rounding, AdamW makes steps of it.
        assert (exports[1][key] - value).norm() <= 3e-5 * value.norm() + 1e-6, key
    assert (place / two / "export" / "adapter").is_dir() == bool(adapter)
