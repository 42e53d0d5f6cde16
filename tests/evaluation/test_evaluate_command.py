"""``cosmos-sim evaluate`` where the simulator is told what to do."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cosmos_sim.cli import main
from cosmos_sim.envs.twin.env import CosmosTwin
from cosmos_sim.evaluation.clip import beside, jpeg
from cosmos_sim.world_model.world import World


def decoded(poster: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(poster))).astype(float)


def begun(split: str, seed: int) -> np.ndarray:
    """The simulator's first frames as a poster."""
    twin = CosmosTwin("Tabletop", split=split)
    try:
        frames = twin.reset(seed=seed)[0]["pixels"]
        return decoded(jpeg(beside({camera: image[None] for camera, image in frames.items()})[0]))
    finally:
        twin.close()


def test_both_sides_begin_from_the_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    world = World.from_pretrained("lift", device="cpu")
    assert world.starts is not None
    seed = int(world.starts.seeds[0])
    world.config = replace(world.config, spec=replace(world.spec, task="follow the instruction"))
    world.save_pretrained(tmp_path / "table")
    words = ["evaluate", "--world", str(tmp_path / "table"), "--policies", "lift-poor", "--out", str(tmp_path / "out")]
    words += ["--truth", "twin", "--episodes", "1", "--horizon", "3", "--trust", "none"]
    main([*words, "--split", "unseen_objects"])
    assert "follow the instruction" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "report.json").read_text())["settings"]["split"] == "unseen_objects"
    kept = list((tmp_path / "out" / "episodes").rglob("*.npz"))
    assert len(kept) == 2
    unseen, seen = begun("unseen_objects", seed), begun("seen", seed)
    for path in kept:
        poster = decoded(np.load(path)["poster"].tobytes())
        assert np.abs(poster - unseen).mean() < 0.2 < 1 < np.abs(poster - seen).mean()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split", "seen"], "split='seen' would be ignored without truth='twin'"),
        (["--split", "seen", "--truth", "twin"], "'Lift' is always the same task and has no split 'seen'"),
    ],
)
def test_a_split_of_nothing_is_refused(options, message, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", "--out", str(tmp_path), *options])
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
