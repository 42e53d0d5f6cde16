import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from tiny_pushed import CAMERAS, pushed

from cosmos_sim.cli import main
from cosmos_sim.data.lerobot import write_dataset
from cosmos_sim.data.store import EpisodeStore
from cosmos_sim.training import TrainConfig, train
from cosmos_sim.world_model.inverse_dynamics import InverseDynamics, InverseDynamicsConfig
from cosmos_sim.world_model.latent_actions import (
    LatentActions,
    LatentActionsConfig,
    LatentActionsNet,
    code_index,
    load_inverse_dynamics,
    quantise,
    unexplained,
)
from cosmos_sim.world_model.recipes.inverse_dynamics import InverseDynamicsRecipe, InverseDynamicsRecipeConfig
from cosmos_sim.world_model.recipes.latent_actions import LatentActionsRecipe, LatentActionsRecipeConfig, perplexity

SIZES = {"resolution": 32, "width": 8, "dim": 32, "chunk": 4, "blocks": 1, "heads": 2}
CODE = {"apart": 2, "tokens": 3, "levels": (5, 3), "painted": 16}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset([pushed(seed) for seed in range(40)], tmp_path_factory.mktemp("latent") / "pushed")


@pytest.fixture
def store(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    return EpisodeStore(dataset, cache=tmp_path_factory.getbasetemp() / "latent_cache")


def recipe(store: EpisodeStore, *, others: Sequence[EpisodeStore] = (), **options) -> LatentActionsRecipe:
    net = LatentActionsConfig(("above", "side"), 4, **SIZES, **CODE)
    options = {"translation": 2, "blur": 0.0, "labels": 0.3, "pairs": 7, "batch_size": 5, **options}
    return LatentActionsRecipe(LatentActionsRecipeConfig(("pushed",), net, **options), [store, *others])


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("latent_run") / "run"
    store = EpisodeStore(dataset, cache=tmp_path_factory.getbasetemp() / "latent_cache")
    config = TrainConfig(steps=600, lr=4e-3, warmup=10, ema=0.95, save_every=600, eval_every=600, device="cpu")
    train(recipe(store, pairs=48, batch_size=16), config, out)
    return out / "export"


def test_quantising_takes_the_nearest_level():
    z = torch.linspace(-3, 3, 26).reshape(2, 13)[..., None].repeat(1, 1, 2).requires_grad_()
    values = quantise(z, (3, 7))
    for k, level in enumerate((3, 7)):
        levels = np.linspace(-1, 1, level)
        nearest = levels[np.abs(np.tanh(z[..., k, None].detach().numpy()) - levels).argmin(-1)]
        np.testing.assert_allclose(values[..., k].detach().numpy(), nearest, atol=1e-6)
    values.sum().backward()
    torch.testing.assert_close(z.grad, 1 - z.detach().tanh() ** 2)


def test_every_code_has_its_number():
    levels = (3, 5, 7)
    every = list(itertools.product(*(np.linspace(-1, 1, level) for level in levels)))
    numbers = code_index(torch.tensor(every), levels).tolist()
    assert sorted(numbers) == list(range(3 * 5 * 7))
    assert numbers[every.index((1, 0, 0))] - numbers[every.index((-1, 0, 0))] == 2


def test_perplexity_is_that_of_the_entropy():
    codes = np.random.default_rng(0).integers(0, [4, 1, 90], (50, 3))
    expected = [np.exp(stats.entropy(np.bincount(values))) for values in codes.T]
    np.testing.assert_allclose(perplexity(codes), expected)
    assert perplexity(codes)[1] == 1


def test_an_untrained_painter_changes_nothing(store: EpisodeStore):
    made = recipe(store)
    batch = made.batch(0, torch.Generator().manual_seed(0))
    assert {camera: frames.shape for camera, frames in batch.pairs.items()} == dict.fromkeys(CAMERAS, (7, 2, 32, 32, 3))
    loss = made.net.painting_loss(batch.pairs, None)
    torch.testing.assert_close(loss, torch.tensor(1.0), atol=2e-3, rtol=0)
    real = torch.rand(3, 2, 3, 8, 8)
    assert unexplained(real[:, 1], real) == 0
    torch.testing.assert_close(unexplained((real[:, 0] + real[:, 1]) / 2, real), torch.tensor(0.25))


def test_pairs_are_up_to_so_many_steps_apart(store: EpisodeStore):
    made = recipe(store, pairs=60, jitter=0.0)
    batch = made.batch(1, torch.Generator().manual_seed(0))
    frames = store.frames["above"]
    small = made.seen({camera: video[None] for camera, video in store.frames.items()}, [1])["above"][0].numpy()
    flat = {image.tobytes(): k for k, image in reversed(list(enumerate(small)))}
    assert len(small) == len(frames)
    distances = {flat[b.tobytes()] - flat[a.tobytes()] for a, b in batch.pairs["above"].numpy()}
    episodes = {flat[a.tobytes()] // 20 for a, _ in batch.pairs["above"].numpy()}
    assert {1, 2} <= distances
    assert not episodes & set(store.held_out)
    assert len(episodes) > len(made.labelled[0])


def test_actions_of_the_other_episodes_are_never_seen(store: EpisodeStore):
    plain = recipe(store)
    assert len(plain.labelled[0]) == round(0.3 * len(store.train))
    others = sorted(set(range(len(store))) - set(plain.labelled[0]))
    store.action[store.rows(others)] = 77
    store.state[store.rows(others)] = np.random.default_rng(0).normal(size=(len(store.rows(others)), 2))
    blind = recipe(store)
    np.testing.assert_array_equal(blind.net.low, plain.net.low)
    np.testing.assert_array_equal(blind.net.high, plain.net.high)
    assert plain.net.high.max() < 77
    for step in range(3):
        one, other = (made.batch(step, torch.Generator().manual_seed(step)) for made in (plain, blind))
        assert torch.equal(one.actions, other.actions)
        assert all(torch.equal(one.frames[camera], other.frames[camera]) for camera in CAMERAS)
        assert all(torch.equal(one.pairs[camera], other.pairs[camera]) for camera in CAMERAS)


def test_videos_without_actions_teach_the_eyes(store: EpisodeStore, dataset: Path, tmp_path: Path):
    """A dataset whose metadata know no actions and no states: of another robot, say."""
    silent = Path(shutil.copytree(dataset, tmp_path / "silent"))
    info = json.loads((silent / "meta" / "info.json").read_text())
    for name in ("action", "observation.state"):
        del info["features"][name]
    (silent / "meta" / "info.json").write_text(json.dumps(info))
    with pytest.raises(ValueError, match=r"has no feature 'observation.state'"):
        EpisodeStore(silent, cache=tmp_path)
    videos = EpisodeStore(silent, cache=tmp_path, videos_alone=True)
    assert videos.action.shape == videos.state.shape == (800, 0)
    np.testing.assert_array_equal(videos.frames["side"], store.frames["side"])
    made = recipe(store, others=[videos], pairs=3)
    assert len(made.labelled) == 1
    assert len(made.pairs) == 2
    drawn = [made.batch(step, torch.Generator().manual_seed(step)) for step in range(8)]
    assert all(batch.actions.shape == (5, 4, 4) for batch in drawn)
    videos.frames["above"] = np.zeros_like(videos.frames["above"])
    dark = [made.batch(step, torch.Generator().manual_seed(step)) for step in range(8)]
    assert 0 < sum(not batch.pairs["above"].any() for batch in dark) < 8
    assert all(torch.equal(one.actions, other.actions) for one, other in zip(drawn, dark, strict=True))


def test_actions_do_not_teach_the_eyes(store: EpisodeStore):
    made = recipe(store)
    batch = made.batch(0, torch.Generator().manual_seed(0))
    losses = made.loss(batch, 0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(losses["loss"], losses["painting"] + losses["actions"])
    losses["actions"].backward()
    reached = {name.split(".")[0] for name, weight in made.net.named_parameters() if weight.grad is not None}
    assert "join" in reached
    assert not reached & {"eyes", "code", "painters"}


def test_actions_are_read_after_few_labels(trained: Path):
    model = LatentActions.from_pretrained(trained)
    assert model.figures["change_explained"] > 0.5
    assert model.figures["code_perplexity"] > 2
    assert model.figures["translation_error"] < 0.55
    assert model.figures["binary_accuracy"] > 0.9
    episode = pushed(1000)
    reading = model.read(episode.frames)
    assert reading.action.shape == reading.deviation.shape == (19, 4)
    assert np.corrcoef(reading.action[:, :2].ravel(), episode.action[:-1, :2].ravel())[0, 1] > 0.8
    backwards = {camera: frames[::-1] for camera, frames in episode.frames.items()}
    moved = model.read(backwards).action[::-1, :2]
    assert np.corrcoef(moved.ravel(), -episode.action[:-1, :2].ravel())[0, 1] > 0.7


def test_codes_tell_the_motion(trained: Path):
    """Codes were learned without any action; yet a sum over the codes of a step tells its action in other episodes."""
    model = LatentActions.from_pretrained(trained)
    episodes = [pushed(seed) for seed in range(1000, 1030)]
    codes = np.concatenate([model.codes(episode.frames) for episode in episodes])
    moved = np.concatenate([episode.action[:-1, :2] for episode in episodes])
    assert codes.shape == (30 * 19, 3)
    assert codes.min() >= 0
    assert codes.max() < model.net.config.codes == 15
    drawn = np.concatenate([np.eye(15)[column] for column in codes.T], axis=1)
    seen, others = slice(0, 15 * 19), slice(15 * 19, None)
    weights = np.linalg.solve(drawn[seen].T @ drawn[seen] + 0.01 * np.eye(45), drawn[seen].T @ moved[seen])
    rest, spread = moved[others] - drawn[others] @ weights, moved[others] - moved[seen].mean(0)
    assert (rest**2).sum() < 0.65 * (spread**2).sum()
    large = {camera: video.repeat(2, axis=1).repeat(2, axis=2) for camera, video in episodes[0].frames.items()}
    assert (model.codes(large) == codes[:19]).mean() > 0.9


def test_a_collapsed_code_is_warned_of(store: EpisodeStore):
    made = recipe(store)
    torch.nn.init.zeros_(made.net.code[-1].weight)
    with pytest.warns(UserWarning, match=r"3 of 3 codes have collapsed .* are 1.0, 1.0, 1.0 of 15"):
        figures = made.evaluate(torch.Generator())
    assert figures["code_perplexity"] == 1
    assert figures["change_explained"] == pytest.approx(0, abs=1e-6)


def test_videos_for_people(store: EpisodeStore):
    videos = recipe(store).sample(torch.Generator())
    assert {camera: (video.shape, video.dtype) for camera, video in videos.items()} == dict.fromkeys(
        CAMERAS, ((19, 32, 64, 3), np.dtype(np.uint8))
    )


def test_either_kind_is_found_by_its_folder(trained: Path, tmp_path: Path):
    model = load_inverse_dynamics(trained)
    assert isinstance(model, LatentActions)
    assert isinstance(model.net, LatentActionsNet)
    (tmp_path / "copy").mkdir()
    model.write(tmp_path / "copy")
    again, frames = load_inverse_dynamics(tmp_path / "copy"), pushed(3).frames
    np.testing.assert_array_equal(again.read(frames).action, model.read(frames).action)
    assert "11 of 38" in (tmp_path / "copy" / "README.md").read_text()
    with pytest.raises(ValueError, match="kind='latent actions', not a inverse dynamics"):
        InverseDynamics.from_pretrained(trained)
    (tmp_path / "plain").mkdir()
    net = InverseDynamics.NET(InverseDynamicsConfig(("above", "side"), 4, **SIZES))
    InverseDynamics(net, figures={}).write(tmp_path / "plain")
    assert type(load_inverse_dynamics(tmp_path / "plain")) is InverseDynamics


def test_mistakes_are_named(trained: Path, store: EpisodeStore):
    with pytest.raises(ValueError, match=r"levels must be odd numbers from 3 on, got \(5, 4\)"):
        LatentActionsConfig(("above",), 4, levels=(5, 4))
    with pytest.raises(ValueError, match="painted must be a multiple of 4 that divides 32, got 12"):
        LatentActionsConfig(("above",), 4, resolution=32, painted=12)
    with pytest.raises(ValueError, match=r"dropout must lie in \[0, 1\), got 1"):
        LatentActionsConfig(("above",), 4, dropout=1)
    with pytest.raises(ValueError, match="tokens must be at least 1, got 0"):
        LatentActionsConfig(("above",), 4, tokens=0)
    with pytest.raises(ValueError, match="pairs must be at least 1, got 0"):
        recipe(store, pairs=0)
    with pytest.raises(ValueError, match=r"labels must lie in \(0, 1\], got 0"):
        recipe(store, labels=0)
    model = LatentActions.from_pretrained(trained)
    with pytest.raises(ValueError, match=r"the latent actions were trained on 'side'; there are \['above'\]"):
        model.codes({"above": pushed(0).frames["above"]})


def test_the_same_labels_for_both_kinds(store: EpisodeStore):
    net = InverseDynamicsConfig(("above", "side"), 4, **SIZES)
    other = InverseDynamicsRecipe(InverseDynamicsRecipeConfig(("pushed",), net, labels=0.3, translation=2), [store])
    assert other.labelled == recipe(store).labelled
    assert set(other.windows[0].episode) == set(other.labelled[0])
    torch.testing.assert_close(other.net.high, recipe(store).net.high)


@pytest.mark.filterwarnings("ignore:.*have collapsed")
def test_train_latent_actions_on_a_users_own_dataset(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sizes = ["--chunk", "4", "--resolution", "32", "--width", "4", "--dim", "16", "--blocks", "1", "--levels", "5", "3"]
    steps = ["--steps", "2", "--warmup", "1", "--device", "cpu", "--labels", "0.2", "--pairs", "5"]
    for kind, more in (("latent-actions", [*sizes, "--painted", "8"]), ("idm", sizes[:-3])):
        options = [option for option in steps if kind != "idm" or option not in ("--pairs", "5")]
        out = tmp_path / kind
        assert not main(["train", kind, "--data", str(dataset), "--out", str(out), *more, *options])
        told = capsys.readouterr().out
        assert "translation_error" in told
        assert ("change_explained" in told) == (kind == "latent-actions")
        assert load_inverse_dynamics(out / "export").cameras == ("above", "side")
        made = json.loads((out / "export" / "config.json").read_text())["metadata"]
        assert made["episodes with actions"] == "8 of 38"
