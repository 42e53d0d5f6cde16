"""``cosmos-sim train control`` on two processes: the losses, the figures and the branch are those of one."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from processes import free_ports, launch, ranked
from safetensors.torch import load_file

from cosmos_sim.cli import main
from cosmos_sim.training.video import write_mp4
from cosmos_sim.world_model.checkpoints.network import Network, save_ours
from cosmos_sim.world_model.checkpoints.stored import held
from cosmos_sim.world_model.dit import DiT, DiTConfig
from cosmos_sim.world_model.tokenizer import Tokenizer, TokenizerConfig
from cosmos_sim.world_model.tokenizer_folder import save_tokenizer

BASE = DiTConfig(
    latent_channels=4,
    model_channels=48,
    num_blocks=3,
    num_heads=2,
    adaln_lora_dim=8,
    context_dim=None,
    context_in_dim=None,
)
LINE = (
    "--size 32,48 --frames 5 --images 0.4 --network small --control edge --blocks 2 --variants 2 --batch-size 4 "
    "--text-dropout 1 --lr 1e-2 --eps 1e-4 --steps 4 --warmup 1 --save-every 2 --eval-every 4 --log-every 1 "
    "--eval-clips 2 --samples 1 --sample-steps 1 --device cpu --autocast fp32 --workers 1"
)
LAYOUTS = {
    "fsdp": "--parallel.checkpointing full",
    "context": "--parallel.context 2 --parallel.checkpointing selective",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("control")
    (folder / "videos").mkdir()
    rng = np.random.default_rng(0)
    for k in range(4):
        frames = np.kron(rng.integers(0, 255, (21, 4, 6, 3)), np.ones((1, 8, 8, 1))).astype(np.uint8)
        write_mp4(folder / "videos" / f"{k}.mp4", frames, 5.0)
    torch.manual_seed(0)
    save_tokenizer(
        Tokenizer(TokenizerConfig(latent_channels=4, patch=2, encoder_width=4, decoder_width=4)), folder / "tokenizer"
    )
    dit = DiT(BASE)
    with torch.no_grad():
        for parameter in dit.parameters():
            parameter.normal_(std=0.1)
    save_ours(Network(BASE, {name: held(x) for name, x in dit.state_dict().items()}), folder / "base")
    return folder


def train(place: Path, out: str, more: str = "") -> None:
    names = {"--data": "videos", "--tokenizer": "tokenizer", "--base": "base", "--out": out}
    paths = [word for option, name in names.items() for word in (option, str(place / name))]
    main(["train", "control", *paths, *f"{LINE} {more}".split()])


def train_as(rank: int, port: int, place: Path, out: str, more: str) -> None:
    torch.set_num_threads(1)
    with ranked(rank, 2, port):
        train(place, out, more)


@pytest.fixture(scope="module")
def alone(place: Path) -> str:
    train(place, "one")
    return "one"


@pytest.mark.parametrize("name", LAYOUTS)
def test_two_processes_are_as_one(place, alone, name):
    launch(train_as, 2, free_ports(1)[0], place, name, LAYOUTS[name])
    rows = [
        [json.loads(line) for line in (place / run / "metrics.jsonl").read_text().splitlines()] for run in (alone, name)
    ]
    assert len(rows[0]) == 5
    for one, shared in zip(*rows, strict=True):
        assert shared == pytest.approx(one, rel=1e-5)
    branches = [load_file(place / run / "export" / "model.safetensors") for run in (alone, name)]
    assert set(branches[0]) == set(branches[1])
    for key, value in branches[0].items():
        # As a whole, and by an AdamW whose eps is above rounding, of which it would make steps.
        assert (branches[1][key] - value).norm() <= 3e-5 * value.norm() + 1e-6, key
