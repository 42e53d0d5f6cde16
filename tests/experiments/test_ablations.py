"""The ablations at a size that learns nothing: variants train, and finished ones are taken as they are."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cosmos_sim.data.lerobot import write_dataset
from cosmos_sim.types import Episode
from cosmos_sim.world_model.tokenizer import Tokenizer, TokenizerConfig
from cosmos_sim.world_model.tokenizer_folder import save_tokenizer


def wandering(seed: int, steps: int = 36) -> Episode:
    """A bright block that goes where its action says."""
    rng = np.random.default_rng(seed)
    action = rng.uniform(-1, 1, (steps, 2)).astype(np.float32)
    place = np.clip(16 + np.cumsum(np.vstack([np.zeros((1, 2)), 2 * action[:-1]]), axis=0), 4, 28)
    frames = np.full((steps, 32, 32, 3), 90, np.uint8)
    for image, (y, x) in zip(frames, place.round().astype(int), strict=True):
        image[y - 3 : y + 3, x - 3 : x + 3] = (220, 40, 30)
    state = (place / 32).astype(np.float32)
    return Episode({"top": frames}, state, action, "wander", success=state[:, 0] < 0.4, fps=10.0)


def test_every_variant_is_trained_and_measured(load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    write_dataset([wandering(seed) for seed in range(6)], tmp_path / "data")
    torch.manual_seed(0)
    save_tokenizer(
        Tokenizer(TokenizerConfig(latent_channels=4, encoder_width=8, decoder_width=8)), tmp_path / "tokenizer"
    )
    monkeypatch.chdir(tmp_path)
    ablations = load("ablations")
    names = ["action-channels", "drawn-times"]
    monkeypatch.setattr(ablations, "VARIANTS", [one for one in ablations.VARIANTS if one.name in names])

    def run(*words: str) -> list[dict]:
        given = ["--data", "data", "--tokenizer", "tokenizer", "--work", "work", "--out", "found.json"]
        size = ["--steps", "2", "--width", "64", "--blocks", "1", "--episodes", "1"]
        monkeypatch.setattr(sys, "argv", ["ablations.py", *given, *size, *words])
        ablations.main()
        return json.loads(Path("found.json").read_text())["rows"]

    rows = run()
    measured = {(row["variant"], row["sampling_steps"]) for row in rows}
    assert measured == {(name, 1) for name in names} | {("drawn-times", 2), ("drawn-times", 4)}
    assert all(np.isfinite(row["psnr_29/top"]) for row in rows)
    assert len({row["psnr_12/top"] for row in rows if row["sampling_steps"] == 1}) == len(names)
    table = capsys.readouterr().out
    assert all(f"\n{name} " in table for name in names)

    made = {name: (tmp_path / "work" / name / "export" / "dynamics.safetensors").stat().st_mtime_ns for name in names}
    assert run("--only", "drawn-times") == rows
    assert made == {
        name: (tmp_path / "work" / name / "export" / "dynamics.safetensors").stat().st_mtime_ns for name in names
    }
