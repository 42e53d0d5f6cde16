import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_pushed import CAMERAS, pushed

from cosmos_sim.cli import main
from cosmos_sim.data.lerobot import write_dataset
from cosmos_sim.data.store import EpisodeStore
from cosmos_sim.envs.trust import Trust
from cosmos_sim.envs.trust_calibration import TrustCalibration
from cosmos_sim.training import TrainConfig, train
from cosmos_sim.types import Episode
from cosmos_sim.world_model.inverse_dynamics import (
    InverseDynamics,
    InverseDynamicsConfig,
    InverseDynamicsNet,
    chunk_starts,
)
from cosmos_sim.world_model.latent_actions import LatentActionsConfig
from cosmos_sim.world_model.recipes.inverse_dynamics import (
    InverseDynamicsRecipe,
    InverseDynamicsRecipeConfig,
    action_figures,
)

SIZES = {"resolution": 32, "width": 8, "dim": 32, "chunk": 4, "blocks": 1, "heads": 2}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset([pushed(seed) for seed in range(40)], tmp_path_factory.mktemp("pushed") / "pushed")


@pytest.fixture(scope="module")
def store(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    return EpisodeStore(dataset, cache=tmp_path_factory.mktemp("cache"))


def recipe(store: EpisodeStore, **options) -> InverseDynamicsRecipe:
    net = InverseDynamicsConfig(("above", "side"), 4, **SIZES)
    config = InverseDynamicsRecipeConfig(("pushed",), net, **{"translation": 2, "blur": 0.0, **options})
    return InverseDynamicsRecipe(config, [store], provenance={"data": "pushed"})


@pytest.fixture(scope="module")
def trained(store: EpisodeStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    config = TrainConfig(steps=250, lr=4e-3, warmup=10, ema=0.95, save_every=250, eval_every=250, device="cpu")
    train(recipe(store, batch_size=16), config, out)
    return out / "export"


def test_actions_are_learned_from_frames(trained: Path):
    model = InverseDynamics.from_pretrained(trained)
    assert model.figures["translation_error"] < 0.35
    assert model.figures["binary_accuracy"] > 0.95
    assert model.figures["error"] < 0.2
    assert model.binary.tolist() == [False, False, True, False]
    episode = pushed(1000)
    reading = model.read(episode.frames)
    assert reading.action.shape == reading.deviation.shape == (19, 4)
    error = np.abs(reading.action - episode.action[:-1])
    assert error[:, :2].mean() < 0.3
    assert set(np.unique(reading.action[:, 2])) == {-1.0, 1.0}
    backwards = {camera: frames[::-1] for camera, frames in episode.frames.items()}
    moved = model.read(backwards).action[::-1, :2]
    assert np.corrcoef(moved.ravel(), -episode.action[:-1, :2].ravel())[0, 1] > 0.8


def test_doubt_is_where_frames_tell_nothing(trained: Path):
    """Of a value that nothing shows, the draws are its distribution: uniform, whose deviation is 0.29 of its range."""
    model = InverseDynamics.from_pretrained(trained)
    deviation = np.concatenate([model.read(pushed(seed).frames, samples=24).deviation for seed in (1001, 1002)])
    assert deviation[:, :2].mean() < 0.1
    assert 0.15 < deviation[:, 3].mean() < 0.4


def test_the_same_video_and_seed_give_the_same_actions(trained: Path):
    model, frames = InverseDynamics.from_pretrained(trained), pushed(1002).frames
    first = model.read(frames, samples=3, seed=1)
    np.testing.assert_array_equal(model.read(frames, samples=3, seed=1).action, first.action)
    assert not np.array_equal(model.read(frames, samples=3, seed=2).action, first.action)
    large = {c: images.repeat(2, axis=1).repeat(2, axis=2) for c, images in frames.items()}
    np.testing.assert_allclose(model.read(large, samples=3, seed=1).action[:, :2], first.action[:, :2], atol=0.15)


def test_training_sees_the_frames_around_each_action(store: EpisodeStore):
    batch = recipe(store, batch_size=5, jitter=0.0).batch(0, torch.Generator().manual_seed(3))
    assert batch.actions.shape == (5, 4, 4)
    assert batch.frames["above"].shape == (5, 5, 32, 32, 3)
    assert torch.equal(batch.jitter, torch.tensor([[1.0, 0.0]]).repeat(5, 1))
    for video, actions in zip(batch.frames["side"].numpy().astype(int), batch.actions.numpy(), strict=True):
        left = [np.flatnonzero(np.ptp(frame[24], axis=-1) > 60)[0] for frame in video]  # what is coloured
        np.testing.assert_allclose(np.diff(left), 4 * actions[:, 0], atol=0.01)


def test_the_loss_is_that_of_the_straight_path(store: EpisodeStore):
    made = recipe(store)
    batch = made.batch(0, torch.Generator().manual_seed(0))
    with torch.no_grad():
        fresh = made.net.loss(batch.frames, batch.actions, None, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    data = made.net.normalise(batch.actions).repeat(4, 1, 1)
    noise = torch.randn(data.shape, generator=generator)
    torch.testing.assert_close(fresh, ((noise - data) ** 2).mean())  # an untrained network says 0
    assert data.abs().max() <= 1
    torch.testing.assert_close(made.net.restore(made.net.normalise(batch.actions)), batch.actions)


@pytest.mark.parametrize(("actions", "chunk"), [(4, 4), (5, 4), (19, 4), (8, 8), (23, 8), (7, 1)])
def test_chunks_cover_every_action(actions: int, chunk: int):
    starts = chunk_starts(actions, chunk)
    covered = np.unique(starts[:, None] + np.arange(chunk))
    np.testing.assert_array_equal(covered, np.arange(actions))
    assert (np.diff(starts) <= max(1, chunk // 2)).all()


def test_figures_by_hand():
    truth = np.array([[3, 4, 0, 1], [0, 0, 2, -1]], np.float32)
    read = truth + np.array([[0.6, 0.8, 1, 0], [0, 0, 0, 2]], np.float32)
    found = action_figures(
        truth,
        read,
        np.array([[0.2] * 4, [0.1] * 4], np.float32),
        span=np.array([10, 10, 10, 2], np.float32),
        binary=np.array([False, False, False, True]),
        translation=2,
    )
    assert found["translation_error"] == pytest.approx(1 / 5)
    assert found["binary_accuracy"] == 0.5
    assert found["error"] == pytest.approx((0.06 + 0.08 + 0.1) / 6)
    assert found["deviation_rank"] == pytest.approx(1)


def test_mistakes_are_named(trained: Path, store: EpisodeStore, tmp_path: Path):
    model, frames = InverseDynamics.from_pretrained(trained), pushed(0).frames
    with pytest.raises(ValueError, match=r"trained on 'side'; there are \['above'\]"):
        model.read({"above": frames["above"]})
    with pytest.raises(ValueError, match="a video of 4 frames is too short: 5 are read at once"):
        model.read({camera: video[:4] for camera, video in frames.items()})
    with pytest.raises(ValueError, match="unequal numbers of frames"):
        model.read({**frames, "side": frames["side"][:9]})
    with pytest.raises(ValueError, match="'above' must be uint8 t h w c, got float32"):
        model.read({**frames, "above": frames["above"].astype(np.float32)})
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        model.read(frames, samples=0)
    other = InverseDynamicsRecipeConfig(("pushed",), InverseDynamicsConfig(("above", "side"), 5, **SIZES))
    with pytest.raises(ValueError, match="'pushed' has actions of 4 values, 5 are read"):
        InverseDynamicsRecipe(other, [store])
    with pytest.raises(ValueError, match=r"dim must be a positive multiple of 3 heads, got 32"):
        InverseDynamicsConfig(("above",), 3, dim=32, heads=3)
    with pytest.raises(ValueError, match=r"translation must lie in 0 .. 4, got 5"):
        recipe(store, translation=5)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    config = json.loads((trained / "config.json").read_text())
    (foreign / "config.json").write_text(json.dumps({**config, "format": 9}))
    with pytest.raises(ValueError, match=r"config.json has format 9; this version reads 1"):
        InverseDynamics.from_pretrained(foreign)


def test_a_network_survives_its_folder(trained: Path, tmp_path: Path):
    model = InverseDynamics.from_pretrained(trained)
    (tmp_path / "copy").mkdir()
    model.write(tmp_path / "copy")
    again = InverseDynamics.from_pretrained(tmp_path / "copy")
    assert again.figures == model.figures
    assert isinstance(again.net, InverseDynamicsNet)
    frames = pushed(3).frames
    np.testing.assert_array_equal(again.read(frames).action, model.read(frames).action)
    assert "translation_error" in (tmp_path / "copy" / "README.md").read_text()


def test_train_idm_on_a_users_own_dataset(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sizes = ["--chunk", "4", "--resolution", "32", "--width", "4", "--dim", "16", "--blocks", "1"]
    steps = ["--steps", "2", "--warmup", "1", "--device", "cpu"]
    assert not main(["train", "idm", "--data", str(dataset), "--out", str(tmp_path / "run"), *sizes, *steps])
    assert "translation_error" in capsys.readouterr().out
    assert InverseDynamics.from_pretrained(tmp_path / "run" / "export").cameras == ("above", "side")


def test_a_video_is_seen_step_by_step_as_at_once(trained: Path):
    """What was seen of the steps so far, and the reading of a chunk of them, do not depend on what comes beside."""
    model = InverseDynamics.from_pretrained(trained)
    videos = [pushed(seed, steps=7).frames for seed in (5, 6, 7)]
    together = {camera: np.stack([video[camera] for video in videos]) for camera in CAMERAS}
    tokens = model.see(together)
    assert tokens.shape == (3, 6, SIZES["dim"])
    later = model.see({camera: frames[1:2, 4:] for camera, frames in together.items()})
    np.testing.assert_allclose(later[0], tokens[1, 4:], atol=1e-5)
    reading = model.read_seen(tokens[:, 2:], samples=3, seed=1)
    assert reading.action.shape == reading.deviation.shape == (3, 4, 4)
    alone = model.read({camera: frames[2, 2:] for camera, frames in together.items()}, samples=3, seed=1)
    np.testing.assert_allclose(reading.action[2], alone.action, atol=1e-4)
    np.testing.assert_allclose(reading.deviation[2], alone.deviation, atol=1e-4)
    with pytest.raises(ValueError, match=r"tokens must be of shape \(b, 4, 32\), got \(3, 6, 32\)"):
        model.read_seen(tokens)


def felt(seed: int) -> Episode:
    """The same with the block's place as proprioception."""
    episode = pushed(seed)
    places = 16 + 4 * np.concatenate([np.zeros((1, 2)), np.cumsum(episode.action[:-1, :2], axis=0)])
    return replace(episode, state=places.astype(np.float32))


@pytest.fixture(scope="module")
def feeling(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    folder = tmp_path_factory.mktemp("felt")
    return EpisodeStore(write_dataset([felt(seed) for seed in range(40)], folder / "felt"), cache=folder)


def test_actions_are_read_off_proprioception(feeling: EpisodeStore, tmp_path: Path):
    """Without frames: what moves the block is known exactly, what lights it up not at all."""
    net = InverseDynamicsConfig((), 4, **SIZES, state_dim=2)
    made = InverseDynamicsRecipe(InverseDynamicsRecipeConfig(("felt",), net, translation=2), [feeling])
    schedule = TrainConfig(steps=250, lr=4e-3, warmup=10, ema=0.95, save_every=250, eval_every=250, device="cpu")
    figures = train(made, schedule, tmp_path / "run")
    assert figures["translation_error"] < 0.15
    assert figures["binary_accuracy"] < 0.75
    model, episode = InverseDynamics.from_pretrained(tmp_path / "run" / "export"), felt(1000)
    reading = model.read({}, episode.state)
    assert np.abs(reading.action[:, :2] - episode.action[:-1, :2]).mean() < 0.1
    assert reading.deviation[:, :2].mean() < reading.deviation[:, 2:].mean() / 3
    np.testing.assert_array_equal(model.read(episode.frames, episode.state).action, reading.action)
    assert "(proprioception)" in (tmp_path / "run" / "export" / "README.md").read_text()
    with pytest.raises(ValueError, match="trained to see proprioception too, and there is none"):
        model.read(episode.frames)
    with pytest.raises(ValueError, match=r"proprioception must be finite, of shape \(t, 2\); got \(20, 1\)"):
        model.read({}, episode.state[:, :1])
    with pytest.raises(ValueError, match="trust judges frames by themselves"):
        Trust(model, TrustCalibration(0.0, -1.0)).check(None)


def test_frames_and_proprioception_are_seen_together(feeling: EpisodeStore):
    net = InverseDynamicsConfig(("above",), 4, **SIZES, state_dim=2)
    made = InverseDynamicsRecipe(InverseDynamicsRecipeConfig(("felt",), net, translation=2), [feeling])
    batch = made.batch(0, torch.Generator().manual_seed(0))
    assert batch.states.shape == (16, 5, 2)
    made.loss(batch, 0, torch.Generator().manual_seed(1))["loss"].backward()
    for _ in range(2):  # the last layer begins at zero
        torch.optim.SGD(made.net.parameters(), lr=0.1).step()
        made.loss(batch, 0, torch.Generator().manual_seed(1))["loss"].backward()
    assert made.net.eyes[0].conv1.weight.grad.abs().max() > 0
    assert made.net.sense.embed.weight.grad.abs().max() > 0
    model, episode = InverseDynamics(made.net, figures={}), felt(3)
    whole = model.read(episode.frames, episode.state).action
    assert not np.array_equal(whole, model.read(episode.frames, episode.state[::-1].copy()).action)
    with pytest.raises(ValueError, match="unequal numbers of frames"):
        model.read(episode.frames, episode.state[1:])
    with pytest.raises(ValueError, match="'felt' has proprioception of 2 values, 3 are seen"):
        InverseDynamicsRecipe(
            InverseDynamicsRecipeConfig(("felt",), replace(net, state_dim=3), translation=2), [feeling]
        )
    with pytest.raises(ValueError, match="there must be cameras or a state_dim"):
        InverseDynamicsConfig((), 4)
    with pytest.raises(ValueError, match="latent actions see frames alone"):
        LatentActionsConfig(("above",), 4, state_dim=2)


def test_train_idm_off_proprioception(feeling: EpisodeStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["train", "idm", "--data", str(feeling.info.path), "--chunk", "4", "--dim", "16", "--blocks", "1"]
    steps = ["--steps", "2", "--warmup", "1", "--device", "cpu", "--no-frames"]
    main([*words, *steps, "--state", "--out", str(tmp_path / "run")])
    assert InverseDynamics.from_pretrained(tmp_path / "run" / "export").net.config.state_dim == 2
    for ignored in (["--cameras", "above"], ["--resolution", "64"], ["--width", "8"]):
        with pytest.raises(SystemExit):
            main([*words, *steps, "--state", *ignored, "--out", str(tmp_path / "other")])
        assert "would be ignored without frames" in capsys.readouterr().err
