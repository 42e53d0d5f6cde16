"""The film of dreams: imagined above, the simulator below, from the same start."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cosmos_sim.data.dreams import DreamRecord, DreamStart, write_dreams
from cosmos_sim.data.lerobot import write_dataset
from cosmos_sim.envs.twin.env import CosmosTwin
from cosmos_sim.types import Episode


def test_a_dream_stands_above_its_replay(load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = {camera: np.full((4, 128, 128, 3), grey, np.uint8) for camera, grey in (("agentview", 60), ("wrist", 180))}
    still = Episode(frames, np.zeros((4, 7), np.float32), np.zeros((4, 7), np.float32), "lift the cube", fps=10.0)
    data = write_dataset([still, still], tmp_path / "dreams")
    scores = {"replay": 1.0}
    told = [DreamRecord(k, "lift the cube", k, DreamStart(seed=70 + k, task="Lift"), True, scores) for k in range(2)]
    write_dreams(data, told)
    out = tmp_path / "film.webp"
    monkeypatch.setattr("sys.argv", ["dreams_film.py", "--data", str(data), "--columns", "2", "--out", str(out)])
    load("dreams_film").main()
    film = Image.open(out)
    assert (film.n_frames, film.size) == (4, (2 * (256 + 4), 2 * (128 + 4)))
    picture = np.asarray(film.convert("RGB")).astype(int)
    assert abs(picture[4:132, :128].mean() - 60) < 3
    assert abs(picture[4:132, 128:256].mean() - 180) < 3
    twin = CosmosTwin("Lift")
    for column, seed in enumerate((70, 71)):
        real = twin.reset(seed=seed)[0]["pixels"]["agentview"]
        shown = picture[136:264, 260 * column :][:, :128]
        assert np.abs(shown - real).mean() < 6
    twin.close()
