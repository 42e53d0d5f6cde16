"""``lerobot-train`` on a dataset of dreams, with the options that the documentation names, and what it makes acting."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_smolvla import write_vlm

from cosmos_sim.data.dreams import DreamRecord, DreamStart, write_dreams
from cosmos_sim.data.lerobot import write_dataset
from cosmos_sim.policies.load import load_policy
from cosmos_sim.types import Episode

SIZE = (40, 64)


@pytest.fixture(scope="module")
def dreams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three dreams of two instructions, without reward and success; cameras of one size, which Diffusion wants."""
    rng, episodes = np.random.default_rng(0), []
    for k in range(3):
        frames = {camera: rng.integers(0, 256, (10, *SIZE, 3), dtype=np.uint8) for camera in ("front", "side")}
        state, action = (rng.normal(size=(10, n)).astype(np.float32) for n in (5, 3))
        episodes.append(Episode(frames, state, action, f"point at the {('red', 'green')[k % 2]} square"))
    path = write_dataset(episodes, tmp_path_factory.mktemp("lerobot") / "dreams")
    write_dreams(path, [DreamRecord(k, one.task, 7, DreamStart(), True) for k, one in enumerate(episodes)])
    return path


@pytest.fixture
def lerobot_train(dreams: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Runs the command for a step; returns the folder of the policy."""

    def run(*options: str) -> Path:
        from lerobot.scripts.lerobot_train import main

        words = [f"--dataset.root={dreams}", "--dataset.repo_id=dreams", "--dataset.video_backend=pyav"]
        words += [*options, "--policy.device=cpu", "--policy.push_to_hub=false", f"--output_dir={tmp_path / 'run'}"]
        words += ["--steps=1", "--batch_size=2", "--num_workers=0"]
        monkeypatch.setattr("sys.argv", ["lerobot-train", *words])
        main()
        return tmp_path / "run" / "checkpoints" / "last" / "pretrained_model"

    return run


def seen() -> dict:
    rng = np.random.default_rng(3)
    pixels = {camera: rng.integers(0, 256, (3, *SIZE, 3), dtype=np.uint8) for camera in ("front", "side")}
    return {"pixels": pixels, "agent_pos": np.zeros((3, 5), np.float32)}


def test_diffusion_trains_on_dreams_and_is_told_nothing(lerobot_train: Callable[..., Path]):
    folder = lerobot_train(
        "--policy.type=diffusion",
        "--policy.pretrained_backbone_weights=null",
        "--policy.horizon=8",
        "--policy.n_action_steps=4",
        "--policy.down_dims=[16,32]",
        "--policy.use_separate_rgb_encoder_per_camera=false",
    )
    policy = load_policy(f"lerobot:{folder}")
    actions = []
    for info in ({}, {"task": "point at the red square"}, {"task": ["away", "from", "here"]}):
        policy.reset([4, 5, 6])
        actions.append(policy.act(seen(), info))
    assert not policy.reads
    np.testing.assert_array_equal(actions[1], actions[0])
    np.testing.assert_array_equal(actions[2], actions[0])


def test_smolvla_trains_on_dreams_and_does_what_it_is_told(lerobot_train: Callable[..., Path], tmp_path: Path):
    folder = lerobot_train(
        "--policy.type=smolvla",
        f"--policy.vlm_model_name={write_vlm(tmp_path / 'vlm')}",
        "--policy.num_vlm_layers=2",
        "--policy.resize_imgs_with_padding=[32,32]",
        "--policy.chunk_size=4",
        "--policy.n_action_steps=4",
    )
    policy = load_policy(f"lerobot:{folder}")
    assert policy.reads
    texts = ["point at the red square", "point at the green square"]
    actions = []
    for task in (texts[0], [texts[0]] * 3, [texts[0], texts[1], texts[0]]):
        policy.reset([4, 5, 6])
        actions.append(policy.act(seen(), {"task": task}))
    np.testing.assert_array_equal(actions[1], actions[0])
    differ = np.abs(actions[2] - actions[0]).max((1, 2))
    assert differ[1] > 1e-5 > max(differ[0], differ[2])
    with pytest.raises(ValueError, match=r"info\['task'\].*does not give"):
        policy.act(seen(), {})
    with pytest.raises(ValueError, match="each of 3 environments, got 2"):
        policy.act(seen(), {"task": texts})
