"""The recipe on every layout of data: it trains, samples are the same on any layout, nothing is encoded twice."""

from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from scipy import stats
from tiny_clips import bridge_folder, robot_dataset, video_folder
from tiny_predict import DIT, images, tiny_wan
from tiny_recipe import ACTION, VIDEO, loss, make, train_some

from cosmos_sim.training import TrainConfig, train
from cosmos_sim.training.layout import Part
from cosmos_sim.world_model.load_predict import load_predict
from cosmos_sim.world_model.predict_world import PredictWorld
from cosmos_sim.world_model.recipes import predict_latents
from cosmos_sim.world_model.recipes.predict import PredictRecipe
from cosmos_sim.world_model.recipes.predict_latents import Latents
from cosmos_sim.world_model.request import Request

TWO_STEPS = TrainConfig(
    steps=2, warmup=1, save_every=2, eval_every=2, log_every=1, device="cpu", autocast="fp32", prefetch=0, keep=1
)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return video_folder(tmp_path_factory.mktemp("videos") / "data")


@pytest.fixture(scope="module")
def recipe(videos: Path) -> PredictRecipe:
    """One whose network has no path that is still silent."""
    made = make(videos, videos.parent / "cache")
    train_some(made, 1)
    return made


def kinds(recipe: PredictRecipe, steps: int) -> list[bool]:
    return [recipe.splits(step) for step in range(steps)]


def test_videos_and_images_with_captions(videos, tmp_path):
    """Through the loop: two kinds of steps, figures by noise level, videos, and a folder that generates."""
    recipe = make(videos, tmp_path / "cache", replace(VIDEO, images=0.5))
    kind = kinds(recipe, 2)
    assert set(kind) == {True, False}
    figures = train(recipe, TWO_STEPS, tmp_path / "run")
    assert set(figures) == {"loss/0.3", "loss/0.9", "loss"}
    assert figures["loss"] == pytest.approx((figures["loss/0.3"] + figures["loss/0.9"]) / 2)
    assert 0.5 < figures["loss"] < 10
    export = tmp_path / "run" / "export"
    assert "random weights" in (export / "README.md").read_text()
    assert list((tmp_path / "run" / "samples").rglob("*.mp4"))
    pipeline = load_predict(export, sampling="predict2.5-2b-pretrained", changes={"steps": 1}, dtype="float32")
    assert pipeline.config.dit == recipe.config.dit
    job = pipeline.job(
        Request(name="x", inference_type="text2world", prompt="a", num_output_frames=5, resolution=(32, 48))
    )
    assert job.frames == 5


def test_image_batches_have_no_given_frames_and_videos_have_as_many_as_drawn(recipe):
    for step, video in enumerate(kinds(recipe, 6)):
        batch = recipe.batch(step, torch.Generator().manual_seed(step))
        size = recipe.latents.size(batch.clips[0])
        assert size == ((3, 4, 6) if video else (1, 4, 6))
        if not video:
            assert batch.known.eq(0).all()
        tokens, operations = recipe.cost(batch)
        assert tokens == 4 * size[0] * 2 * 3
        assert operations > 0


@pytest.mark.parametrize("video", [True, False])
def test_the_loss_is_the_same_in_two_parts(recipe, video):
    step = kinds(recipe, 50).index(video)
    with torch.no_grad():
        whole = loss(recipe, step)
        parts = [loss(recipe, step, Part(k, 2)) for k in range(2)]
    assert parts[0] != parts[1]
    assert torch.stack(parts).mean().item() == pytest.approx(whole.item(), rel=1e-6)
    halves = [recipe.batch(step, torch.Generator().manual_seed(step), Part(k, 2)) for k in range(2)]
    assert sorted(halves[0].seeds + halves[1].seeds) == sorted(
        recipe.batch(step, torch.Generator().manual_seed(step)).seeds
    )


def test_held_out_loss_in_parts_is_that_of_the_whole(videos, tmp_path):
    recipe = make(videos, tmp_path, options={"eval_clips": 4})
    recipe.held_out = [
        *recipe.held_out,
        *recipe.clips.draw(2, torch.Generator().manual_seed(0), images=False, part=Part()),
    ][:2]
    with torch.no_grad():
        whole = recipe.evaluate(torch.Generator())
        parts = [recipe.evaluate(torch.Generator(), Part(k, 2)) for k in range(2)]
        many = recipe.evaluate(torch.Generator(), Part(2, 3))
    for name, value in whole.items():
        assert np.mean([part[name] for part in parts]) == pytest.approx(value, rel=1e-6)
        assert many[name] == pytest.approx(value, rel=1e-6), "fewer clips than parts: every part takes all"


def test_given_frames_enter_clean_and_their_times_are_told(recipe, monkeypatch):
    """What the network is given: data where the mask is 1, elsewhere (1 - t) data + t noise; 1000 t for all frames."""
    step = next(s for s in range(50) if recipe.splits(s) and recipe.batch(s, torch.Generator()).known.max() > 0)
    batch = recipe.batch(step, torch.Generator())
    seen = {}

    def look(module, args, kwargs):
        seen["latent"], seen["timestep"], seen["mask"] = args

    handle = recipe.model.register_forward_pre_hook(look, with_kwargs=True)
    with torch.no_grad():
        recipe.loss(batch, step, torch.Generator())
        monkeypatch.setattr(recipe, "config", replace(recipe.config, known_time=1e-4))
        told = seen["timestep"].clone()
        recipe.loss(batch, step, torch.Generator())
    handle.remove()
    data = recipe._data(batch)
    for k, known in enumerate(batch.known.tolist()):
        assert seen["mask"][k].sum() == known * 4 * 6
        assert torch.equal(seen["latent"][k, :, :known], data[k, :, :known])
        noise = torch.empty_like(data[k]).normal_(generator=torch.Generator().manual_seed(batch.seeds[k]))
        t = batch.time[k]
        torch.testing.assert_close(seen["latent"][k, :, known:], ((1 - t) * data[k] + t * noise)[:, known:])
        torch.testing.assert_close(told[k], (1000 * t).expand(3))
        torch.testing.assert_close(seen["timestep"][k, :known], torch.full((known,), 0.1))
        torch.testing.assert_close(seen["timestep"][k, known:], (1000 * t).expand(3 - known))


def test_text_is_dropped_as_often_as_asked(recipe):
    """Over many batches; dropped text is the zero embedding, other text that of its own caption."""
    dropped = []
    for step in range(60):
        batch = recipe.batch(step, torch.Generator().manual_seed(step))
        assert batch.conditions.context.shape == (4, 8, 36)
        dropped += batch.conditions.context.flatten(1).eq(0).all(1).tolist()
    assert stats.binomtest(sum(dropped), len(dropped), 0.2).pvalue > 0.01


def test_the_second_epoch_encodes_nothing(videos, tmp_path):
    """Nor does another run with the same tokenizer; and what was found trains as what was encoded."""
    first = make(videos, tmp_path, seed=5)
    losses = train_some(first, 4)
    encoded = first.latents.encoded
    assert 0 < encoded <= 16
    for step in range(4):
        assert all(clip.latent is not None for clip in first.batch(step, torch.Generator().manual_seed(step)).clips)
    second = make(videos, tmp_path, seed=5)
    assert train_some(second, 4) == losses
    assert (first.latents.encoded, second.latents.encoded) == (encoded, 0)
    folders = list((tmp_path / "latents").iterdir())
    assert len(folders) > encoded / 2, "spread, not millions in one folder"


def test_a_broken_clip_is_named_and_replaced(tmp_path):
    folder = video_folder(tmp_path / "data", videos=5, pictures=0)
    data = bytearray((folder / "video0.mp4").read_bytes())
    data[len(data) // 3 : len(data) // 3 + 400] = np.random.default_rng(0).bytes(400)
    (folder / "video0.mp4").write_bytes(bytes(data))
    recipe = make(folder, tmp_path / "cache", replace(VIDEO, images=0.0, batch_size=8))
    with pytest.warns(UserWarning, match="video0.mp4"):
        losses = train_some(recipe, 2)
    assert np.isfinite(losses).all()
    broken = set(recipe.clips.skipped)
    assert all("video0.mp4@" in name for name in broken)
    batches = [recipe.batch(step, torch.Generator().manual_seed(step)) for step in range(3)]
    assert not any(broken & set(recipe.names(batch)) for batch in batches)
    again = make(folder, tmp_path / "cache", replace(VIDEO, images=0.0, batch_size=8))
    with pytest.warns(UserWarning, match="video0.mp4"):
        assert train_some(again, 2) == losses, "who stands in does not depend on when the fault was met"
    assert again.latents.encoded == 0


def test_where_nothing_sound_is_held_out_it_is_judged_on_what_it_trains_on_and_says_so(tmp_path):
    """The only video that is held out is broken inside, which shows when it is decoded."""
    folder = video_folder(tmp_path / "data", pictures=0)
    sound = make(folder, tmp_path / "a")
    (kept,) = {sound.clips.name(ref).partition("@")[0] for ref in sound.held_out}
    data = bytearray(Path(kept).read_bytes())
    for place in (0.3, 0.6, 0.8):
        start = round(place * len(data))
        data[start : start + 400] = np.random.default_rng(0).bytes(400)
    Path(kept).write_bytes(bytes(data))
    with pytest.warns(UserWarning, match="no clips are kept from training"):
        recipe = make(folder, tmp_path / "b", replace(VIDEO, images=0.0))
    with torch.no_grad():
        assert np.isfinite(recipe.evaluate(torch.Generator())["loss"])
    recipe.export(tmp_path / "export")
    card = (tmp_path / "export" / "README.md").read_text()
    assert "## Loss on clips trained on" in card
    assert "--size 32,48 --frames 9 --prompt" in card


def test_bridge_becomes_a_world(tmp_path):
    """13 frames of 12 actions in 4 latents, of which the first is given; its scaled actions stay as they are."""
    folder = bridge_folder(tmp_path / "data")
    recipe = make(folder, tmp_path / "cache", ACTION, options={"normalise_actions": False}, text=False)
    batch = recipe.batch(0, torch.Generator())
    assert batch.known.tolist() == [1, 1]
    assert batch.conditions.action.shape == (2, 4, 28)
    assert batch.conditions.action[:, 0].eq(0).all(), "no action leads to the first latent"
    assert batch.conditions.context.shape == (2, 1, 36)
    train(recipe, TWO_STEPS, tmp_path / "run")
    world = PredictWorld.from_pretrained(tmp_path / "run" / "export", device="cpu", dtype="float32", sampling_steps=1)
    assert world.config.action_mean is None
    assert (world.spec.chunk, world.spec.fps, world.spec.task) == (12, 5.0, "put the pot on the stove")
    env = gymnasium.make(
        "CosmosWorld-v0",
        world=str(tmp_path / "run" / "export"),
        sampling_steps=1,
        device="cpu",
        reward_model=lambda frames, state, task: np.zeros(state.shape[:2], np.float32),
    )
    observation, _ = env.reset(seed=0)
    assert observation["pixels"]["video"].shape == (32, 48, 3)
    env.step(env.action_space.sample())


def test_a_robot_of_29_actions_and_three_cameras(tmp_path):
    """Cameras side by side, actions normalised by the data's own figures, which the world keeps."""
    folder = robot_dataset(tmp_path / "data")
    stage = replace(ACTION, sizes=((32, 112),))
    recipe = make(folder, tmp_path / "cache", stage, text=False, side_by_side=True)
    assert recipe.config.dit.action_dim == 4 * 29
    losses = train_some(recipe, 2)
    assert np.isfinite(losses).all()
    rows = torch.cat([recipe.batch(s, torch.Generator().manual_seed(s)).conditions.action[:, 1:] for s in range(8)])
    values = rows.reshape(-1, 29)
    assert values.mean().abs() < 0.2
    assert values.std().item() == pytest.approx(1, abs=0.2)
    (tmp_path / "export").mkdir()
    with torch.no_grad():
        recipe.export(tmp_path / "export")
    world = PredictWorld.from_pretrained(tmp_path / "export", device="cpu", dtype="float32", sampling_steps=1)
    figures = recipe.clips.action_statistics()
    np.testing.assert_allclose(world.config.action_mean, figures.mean)
    np.testing.assert_allclose(world.config.action_std, figures.scale)
    assert world.starts is not None
    first = {"video": world.starts.frames["video"][:1]}
    state = world.reset(first, np.zeros((1, 0), np.float32), [0])
    _, prediction = world.step(state, np.zeros((1, 12, 29), np.float32))
    assert prediction.frames["video"].shape == (1, 12, 32, 112, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stage": replace(VIDEO, sizes=((32, 40),))}, "32x40 do not divide into patches of 16"),
        ({"stage": replace(VIDEO, sizes=((32, 44),))}, "32x44"),
        ({"stage": replace(VIDEO, frames=8)}, "8 frames do not make whole latents"),
        ({"stage": replace(VIDEO, frames=5)}, "gives 2 latents, but 5 frames make no more than 2"),
        ({"text": False}, "give a text encoder, or text_dropout=1"),
        ({"dit": replace(DIT, latent_channels=5)}, "4 channels, the network takes 5"),
        ({"dit": replace(DIT, patch=(3, 2, 2))}, "joins latent frames"),
        ({"options": {"levels": (0.0,)}}, "levels"),
        ({"options": {"eval_clips": 0}}, "eval_clips=0"),
    ],
)
def test_what_does_not_go_together_is_refused(videos, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        make(videos, tmp_path, **changes)


def test_actions_need_data_with_actions(videos, tmp_path):
    with pytest.raises(ValueError, match="actions"):
        make(videos, tmp_path, ACTION, text=False)


def test_tokenizers_code_in_bf16_where_it_is_fast(monkeypatch, tmp_path):
    """Latents are those of fp32 but for rounding, and so are the frames decoded from them."""
    frames = torch.from_numpy(images(5))
    exact, fast = (Latents(tiny_wan(), tmp_path / name) for name in ("exact", "fast"))
    found = {}
    for latents, is_fast in ((exact, False), (fast, True)):
        monkeypatch.setattr(predict_latents, "has_fast_bf16", lambda device, answer=is_fast: answer)
        latent = latents.encode(frames, "key", torch.device("cpu"))
        found[is_fast] = latent.float(), latents.frames(latent[None].float()).astype(float)
        assert latent.dtype == torch.float16
    (latent, shown), (rounded, drawn) = found[False], found[True]
    assert not torch.equal(latent, rounded)
    assert (latent - rounded).square().mean() < 1e-3 * latent.square().mean()
    assert np.abs(shown - drawn).mean() < 2
