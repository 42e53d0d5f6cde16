"""A user's own dataset, one 96x96 camera and 14 actions: tokenizer, world, environment."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from cosmos_sim.data.lerobot import write_dataset
from cosmos_sim.data.store import EpisodeStore
from cosmos_sim.training import TrainConfig, train
from cosmos_sim.training.layout import Part
from cosmos_sim.types import Episode
from cosmos_sim.world_model.dynamics import SMALL_DIT, DynamicsConfig
from cosmos_sim.world_model.recipes.tokenizer import TokenizerRecipe, TokenizerRecipeConfig
from cosmos_sim.world_model.recipes.world import WorldRecipe, WorldRecipeConfig
from cosmos_sim.world_model.tokenizer import Tokenizer, TokenizerConfig
from cosmos_sim.world_model.tokenizer_folder import load_tokenizer
from cosmos_sim.world_model.world import World

TINY_TOKENIZER = TokenizerConfig(latent_channels=8, encoder_width=8, decoder_width=8)
TINY_DIT = replace(SMALL_DIT, latent_channels=8, model_channels=32, num_blocks=2, num_heads=2, adaln_lora_dim=8)
Trained = tuple[Tokenizer, Path]
TRAIN = TrainConfig(
    steps=2, warmup=1, save_every=2, eval_every=2, log_every=1, device="cpu", autocast="fp32", prefetch=0
)


def block_episode(rng: np.random.Generator, steps: int = 26) -> Episode:
    """A red block that the first two actions push about; success when it is in the upper half."""
    place, frames, states = rng.uniform(0.3, 0.7, 2), [], []
    actions = rng.uniform(-2, 2, (steps, 14)).astype(np.float32)
    for action in actions:
        image = np.full((96, 96, 3), 90, np.uint8)
        y, x = (place * 96).astype(int)
        image[max(0, y - 6) : y + 6, max(0, x - 6) : x + 6] = (220, 40, 30)
        frames.append(image)
        states.append(np.concatenate([place, [0.0]]))
        place = np.clip(place + 0.03 * action[:2], 0.1, 0.9)
    state = np.stack(states).astype(np.float32)
    return Episode(
        frames={"top": np.stack(frames)}, state=state, action=actions, task="push", success=state[:, 0] < 0.5, fps=10.0
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("own") / "data"
    write_dataset([block_episode(rng) for _ in range(4)], path)
    return EpisodeStore(path, cache=path.parent / "cache")


@pytest.fixture(scope="module")
def tokenizer(store: EpisodeStore, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    out = tmp_path_factory.mktemp("tokenizer")
    config = TokenizerRecipeConfig(data="own", tokenizer=TINY_TOKENIZER, batch_size=4, eval_frames=8)
    figures = train(TokenizerRecipe(config, store), TRAIN, out)
    assert np.isfinite(figures["psnr/top"])
    trained, trained_config, _ = load_tokenizer(out / "export")
    assert len(trained_config.latents_mean) == 8
    latent = trained.encode(torch.from_numpy(np.array(store.frames["top"][:20]))[None])
    assert latent.std().item() == pytest.approx(1, abs=0.4)
    return trained, out / "export"


def world_config(tokenizer: Path) -> WorldRecipeConfig:
    return WorldRecipeConfig(
        data="own",
        tokenizer=str(tokenizer),
        dynamics=DynamicsConfig(state_dim=3, action_dim=14, latent_size=(12, 12), context=3, sketch=True, dit=TINY_DIT),
        batch_size=4,
        rollouts=(1, 2),
        stages=(2,),
        horizon=7,
    )


def test_two_steps_of_training_give_an_environment(store: EpisodeStore, tokenizer: Trained, tmp_path: Path):
    recipe = WorldRecipe(world_config(tokenizer[1]), store, tokenizer[0], cache=tmp_path / "cache")
    figures = train(recipe, TRAIN, tmp_path / "run")
    assert figures["psnr_12_ceiling/top"] > 0
    assert figures["position_error_12"] >= 0
    assert "success_accuracy" in figures
    folder = tmp_path / "run" / "export"
    world = World.from_pretrained(folder, device="cpu")
    assert world.spec.cameras == {"top": (96, 96)}
    assert world.spec.action_dim == 14
    assert max(world.spec.action_high) > 1
    assert "push" in (folder / "README.md").read_text()
    env = gymnasium.make("CosmosWorld-v0", world=str(folder), device="cpu")
    check_env(env.unwrapped)
    observation, _ = env.reset(seed=0)
    assert observation["pixels"]["top"].shape == (96, 96, 3)


def test_a_broken_run_resumes_to_the_same_losses(store: EpisodeStore, tokenizer: Trained, tmp_path: Path):
    class PowerCutError(RuntimeError):
        pass

    class CutRecipe(WorldRecipe):
        def loss(self, batch: dict, step: int, generator: torch.Generator) -> dict:
            if step == 3:
                raise PowerCutError
            return super().loss(batch, step, generator)

    config = replace(TRAIN, steps=5, eval_every=5)
    parts = (world_config(tokenizer[1]), store, tokenizer[0])

    def recipe(kind: type[WorldRecipe] = WorldRecipe) -> WorldRecipe:
        return kind(*parts, cache=tmp_path / "cache")

    train(recipe(), config, tmp_path / "whole")
    with pytest.raises(PowerCutError):
        train(recipe(CutRecipe), config, tmp_path / "cut")
    train(recipe(), config, tmp_path / "cut")

    def losses(run: str) -> list[float]:
        lines = [json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        return [line["train/loss"] for line in lines if "train/loss" in line]

    assert len(losses("whole")) == 5
    assert losses("whole") == losses("cut")


def test_a_world_goes_on_from_another(store: EpisodeStore, tokenizer: Trained, tmp_path: Path):
    """Its weights and normalisation are kept, and the range of proprioception only grows."""
    first = WorldRecipe(world_config(tokenizer[1]), store, tokenizer[0], cache=tmp_path / "cache", seed=1)
    with torch.no_grad():
        first.model.state_low[0], first.model.state_high[1] = -7, 0.5
        first.model.state_mean.add_(0.25)
    parts = (world_config(tokenizer[1]), store, tokenizer[0])
    then = WorldRecipe(*parts, cache=tmp_path / "cache", seed=2, init=first.model)
    for name, value in first.model.state_dict().items():
        if name not in ("state_low", "state_high"):
            assert torch.equal(then.model.state_dict()[name], value), name
    seen = store.state[store.rows(store.train)]
    np.testing.assert_allclose(then.model.state_low, [-7, *seen.min(0)[1:]])
    np.testing.assert_allclose(then.model.state_high, np.maximum(seen.max(0), [-np.inf, 0.5, -np.inf]))
    other = replace(parts[0], dynamics=replace(parts[0].dynamics, context=4))
    with pytest.raises(ValueError, match=r"context=3.*context=4"):
        WorldRecipe(other, *parts[1:], cache=tmp_path / "cache", init=first.model)


def test_rollouts_feed_the_worlds_own_frames_back(store: EpisodeStore, tokenizer: Trained, tmp_path: Path):
    """In the second part, a rollout begins with real frames and goes on from imagined ones, until it is full."""
    config = replace(world_config(tokenizer[1]), rollouts=(1, 3), stages=(2,), batch_size=2)
    recipe = WorldRecipe(config, store, tokenizer[0], cache=tmp_path / "cache")
    seen = []
    original = recipe.model.predict

    def spy(noisy, time, history, *rest, **options):
        seen.append((history, time))
        return original(noisy, time, history, *rest, **options)

    recipe.model.predict = spy  # type: ignore[method-assign]
    real, real_states = [], []
    for step in range(6):
        batch = recipe.batch(step, torch.Generator().manual_seed(step))
        recipe.loss(batch, step, torch.Generator().manual_seed(step))
        real.append(batch["latents"].float())
        real_states.append(recipe.model.normalise_state(batch["states"]))
    k = config.dynamics.context
    begins = [[True, True], [True, True], [True, True], [False, False], [False, True], [True, False]]
    for step, expected in enumerate(begins):
        history, time = seen[step]
        for i, begun in enumerate(expected):
            assert torch.equal(history.latents[i], real[step][i, :k]) == begun
            assert torch.equal(history.states[i], real_states[step][i, :k]) == begun
        assert step < 2 or (time == 1).all()
    assert torch.equal(seen[4][0].latents[0, :-1], seen[3][0].latents[0, 1:])
    assert torch.equal(real[3][0, :-1], real[2][0, 1:])
    assert torch.equal(real[4][0, :-1], real[3][0, 1:])
    assert not torch.equal(real[5][0, :-1], real[4][0, 1:])


def test_a_world_of_chunks_is_trained_chunk_by_chunk(store: EpisodeStore, tokenizer: Trained, tmp_path: Path):
    """Rows, actions and success of a rollout follow each other without a gap, and what comes out takes chunks."""
    config = world_config(tokenizer[1])
    config = replace(config, dynamics=replace(config.dynamics, chunk=2), rollouts=(3,), stages=(), batch_size=1)
    recipe = WorldRecipe(config, store, tokenizer[0], cache=tmp_path / "cache")
    batches = [recipe.batch(step, torch.Generator().manual_seed(step)) for step in range(3)]
    for batch in batches:
        assert batch["latents"].shape[:2] == (1, 3 + 2)
        assert batch["actions"].shape == (1, 2 + 2, 14)
        assert torch.equal(batch["success"], (batch["states"][:, 2:-1, 0] < 0.5).float())
    for one, next_one in itertools.pairwise(batches):
        for name in ("latents", "states", "actions"):
            assert torch.equal(one[name][:, 2:], next_one[name][:, :-2]), name
    figures = train(recipe, TRAIN, tmp_path / "run")
    assert figures["psnr_12_ceiling/top"] > 0
    env = gymnasium.make("CosmosWorld-v0", world=str(tmp_path / "run" / "export"), device="cpu")
    assert env.action_space.shape == (2, 14)
    check_env(env.unwrapped)


def test_the_parts_of_a_batch_are_the_batch(store: EpisodeStore, tokenizer: Trained, tmp_path: Path):
    recipe = WorldRecipe(world_config(tokenizer[1]), store, tokenizer[0], cache=tmp_path / "cache")
    for step in (0, 3):
        whole = recipe.batch(step, torch.Generator().manual_seed(1))
        for index in range(2):
            part = recipe.batch(step, torch.Generator().manual_seed(1), Part(index, 2))
            for name, value in part.items():
                assert torch.equal(value, whole[name][index::2]), name


def test_kinematics_are_judged_on_their_own_predictions(store: EpisodeStore, tokenizer: Trained, tmp_path: Path):
    """Untrained, they predict standing still: after j steps the error is the whole way gone since the start."""
    recipe = WorldRecipe(world_config(tokenizer[1]), store, tokenizer[0], cache=tmp_path / "cache")
    batch = recipe.batch(0, torch.Generator().manual_seed(3))
    states = recipe.model.normalise_state(batch["path_states"])
    gone = (states[:, 3:] - states[:, 2:3]) / recipe.model.kinematics.scale / torch.arange(1, 13)[:, None]
    expected = torch.nn.functional.smooth_l1_loss(gone, torch.zeros_like(gone))
    found = recipe.loss(batch, 0, torch.Generator().manual_seed(0))["kinematics"]
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_what_is_imagined_stays_within_the_range_seen(store: EpisodeStore, tokenizer: Trained, tmp_path: Path):
    recipe = WorldRecipe(world_config(tokenizer[1]), store, tokenizer[0], cache=tmp_path / "cache")
    torch.nn.init.constant_(recipe.model.kinematics.net[-1].bias, 100.0)
    world = recipe._world()
    first = store.episode(0)
    state = world.reset({camera: frames[None, 0] for camera, frames in first.frames.items()}, first.state[None, 0], [0])
    _, prediction = world.step(state, first.action[None, :5])
    highest = store.state[store.rows(store.train)].max(0)
    np.testing.assert_allclose(prediction.proprioception[0, -1], highest, rtol=1e-5)


def test_a_sketch_shows_where_the_robot_is(store: EpisodeStore, tokenizer: Trained, tmp_path: Path):
    """The transformer is given a picture of the pose that is to come, and may not change how it is drawn."""
    recipe = WorldRecipe(world_config(tokenizer[1]), store, tokenizer[0], cache=tmp_path / "cache")
    batch = recipe.batch(0, torch.Generator().manual_seed(1))
    terms = recipe.loss(batch, 0, torch.Generator().manual_seed(0))
    terms["frame"].backward()
    assert all(parameter.grad is None for parameter in recipe.model.sketch.parameters())
    assert recipe.model.dit.config.patch[0] == 3 + 4
    mean = torch.from_numpy(recipe.latents[recipe.train_rows].astype(np.float32)).mean(0)
    torch.testing.assert_close(recipe.model.sketch.background.data, mean, atol=1e-3, rtol=1e-3)


def test_stages_follow_each_other(tokenizer: Trained):
    config = replace(world_config(tokenizer[1]), rollouts=(1, 2, 4), stages=(5, 9))
    assert [config.stage(step) for step in (0, 4, 5, 8, 9, 100)] == [(1, 0), (1, 0), (2, 5), (2, 5), (4, 9), (4, 9)]
    for stages in ((5,), (5, 5), (9, 5), (1, 2, 3)):
        with pytest.raises(ValueError, match="rollouts="):
            replace(config, stages=stages)


def test_impossible_options_are_named(store: EpisodeStore, tokenizer: Trained):
    with pytest.raises(ValueError, match=r"at least 1 chunk each, not \(1, 0\)"):
        replace(world_config(tokenizer[1]), rollouts=(1, 0))
    with pytest.raises(ValueError, match="96x96"):
        TokenizerRecipe(
            TokenizerRecipeConfig(data="own", tokenizer=TokenizerConfig(patch=8, multipliers=(1, 2, 2, 2))), store
        )


def test_a_run_stopped_before_its_export_can_still_export(store: EpisodeStore, tmp_path: Path):
    """The figures were logged by the process that is gone; what the export needs is measured again."""
    recipe = TokenizerRecipe(
        TokenizerRecipeConfig(data="own", tokenizer=TINY_TOKENIZER, batch_size=4, eval_frames=8), store
    )
    recipe.export(tmp_path)
    assert len(load_tokenizer(tmp_path)[1].latents_mean) == 8


def test_the_seed_makes_the_initial_weights(store: EpisodeStore):
    config = TokenizerRecipeConfig(data="own", tokenizer=TINY_TOKENIZER)
    weights = [next(TokenizerRecipe(config, store, seed=seed).model.parameters()) for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
