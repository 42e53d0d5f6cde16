"""Worlds that take an instruction in the place of actions: what dreams are imagined with."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cosmos_sim.cli import main
from cosmos_sim.data.lerobot import dataset_info, read_episodes, write_dataset
from cosmos_sim.data.store import EpisodeStore
from cosmos_sim.data.word_vectors import WordsConfig
from cosmos_sim.envs.worlds import load_world, read_spec
from cosmos_sim.evaluation import sides
from cosmos_sim.synthesis.imagining import open_imaginer
from cosmos_sim.synthesis.starts import Start
from cosmos_sim.training.config import TrainConfig
from cosmos_sim.training.loop import train
from cosmos_sim.types import Episode
from cosmos_sim.world_model.dynamics import SMALL_DIT, Dynamics, DynamicsConfig, History
from cosmos_sim.world_model.inverse_dynamics import InverseDynamics, InverseDynamicsConfig, InverseDynamicsNet
from cosmos_sim.world_model.recipes.world import WorldRecipe, WorldRecipeConfig, first_frames, instructed_by, spec_of
from cosmos_sim.world_model.tokenizer import Tokenizer, TokenizerConfig
from cosmos_sim.world_model.world import World

WORDS = WordsConfig(length=8, neighbours=1, word=16)
TOKENIZER = TokenizerConfig(latent_channels=4, encoder_width=8, decoder_width=8)
DIT = replace(SMALL_DIT, latent_channels=4, model_channels=32, num_blocks=2, num_heads=2, adaln_lora_dim=8)
WAYS = {"push the block left": -1, "push the block right": 1}


def pushed(index: int, steps: int = 16) -> Episode:
    """A block that goes the way it is told from the second step on."""
    rng, task = np.random.default_rng(index), list(WAYS)[index % 2]
    places = 16 + rng.integers(-2, 3) + WAYS[task] * np.maximum(np.arange(steps) - 1, 0) * 0.8
    frames = np.full((steps, 32, 32, 3), 90, np.uint8)
    for image, x in zip(frames, places.round().astype(int), strict=True):
        image[12:20, max(0, x - 3) : x + 3] = (220, 40, 30)
    state = np.stack([places / 32, np.full(steps, 0.5)], axis=1).astype(np.float32)
    action = np.repeat(np.array([[WAYS[task], 0.0]], np.float32), steps, axis=0)
    return Episode({"top": frames}, state, action, task, success=np.arange(steps) > 12, fps=10.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pushed") / "data"
    write_dataset([pushed(index) for index in range(8)], path)
    return path


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some steps on few episodes, which is enough for where the block goes, not for how it looks."""
    folder = tmp_path_factory.mktemp("trained")
    store = instructed_by(EpisodeStore(data, cache=folder), WORDS.knowing(WAYS))
    config = WorldRecipeConfig(
        data="pushed",
        tokenizer="tiny",
        dynamics=DynamicsConfig(state_dim=2, action_dim=WORDS.width, latent_size=(4, 4), context=3, dit=DIT),
        batch_size=4,
        rollouts=(1,),
        stages=(),
        words=WORDS.knowing(WAYS),
    )
    torch.manual_seed(0)
    recipe = WorldRecipe(config, store, Tokenizer(TOKENIZER), cache=folder)
    schedule = TrainConfig(
        steps=80, lr=3e-3, warmup=5, save_every=80, eval_every=80, device="cpu", autocast="fp32", prefetch=0
    )
    figures = train(recipe, schedule, folder / "run")
    assert not any("negated" in name for name in figures)
    return folder / "run" / "export"


def begin(world: World, episode: Episode, instructions: list[str], steps: int) -> np.ndarray:
    """Where a world thinks the block goes under each instruction, from the same start."""
    first = np.repeat(episode.frames["top"][None, 0], len(instructions), axis=0)
    state = world.reset({"top": first}, np.repeat(episode.state[None, 0], len(instructions), axis=0), [0] * 2)
    told = np.stack([world.told(text) for text in instructions])
    return world.step(state, np.repeat(told[:, None], steps, axis=1))[1].proprioception[:, -1, 0]


def test_it_goes_where_it_is_told(trained: Path) -> None:
    world = World.from_pretrained(trained, device="cpu", dtype="float32")
    left, right = begin(world, pushed(0), list(WAYS), steps=10)
    assert left < pushed(0).state[0, 0] - 0.08
    assert right > pushed(0).state[0, 0] + 0.08


def test_instructions_it_cannot_take(trained: Path) -> None:
    world = World.from_pretrained(trained, device="cpu")
    with pytest.raises(ValueError, match="must have words"):
        world.told(" ... ")
    with pytest.warns(UserWarning, match="has the words 'upwards'"):
        world.told("push the block upwards")
    with pytest.raises(ValueError, match="takes actions, no instructions"):
        World.from_pretrained("lift", device="cpu").told("lift the cube")
    odd = replace(world.config.words, word=8)
    with pytest.raises(ValueError, match="instructions are 24 numbers, an action is 48"):
        replace(world.config, words=odd)


def test_it_is_no_environment(trained: Path) -> None:
    for opened in (load_world, read_spec, sides.load_world):
        with pytest.raises(ValueError, match="takes instructions, no actions; it is for cosmos-sim dream"):
            opened(str(trained))


def test_it_imagines_at_the_sizes_of_the_start(trained: Path) -> None:
    imaginer = open_imaginer(str(trained), device="cpu")
    assert imaginer.cameras == ("top",)
    frames = {"top": np.repeat(np.repeat(pushed(0).frames["top"][0], 2, axis=0), 3, axis=1)}
    start = Start(frames, pushed(0).state[0])
    made = imaginer.imagine(start, "push the block left", frames=6, seed=3)
    videos = made.frames
    assert videos["top"].shape == (6, 64, 96, 3)
    np.testing.assert_array_equal(videos["top"][0], frames["top"])
    again = imaginer.imagine(start, "push the block left", frames=6, seed=3)
    np.testing.assert_array_equal(videos["top"], again.frames["top"])
    assert made.state is not None
    assert made.state.shape == (6, 2)
    np.testing.assert_array_equal(made.state[0], start.state)
    np.testing.assert_array_equal(made.state, again.state)
    real = {"top": pushed(0).frames["top"]}
    coded = imaginer.reconstructed(real)
    assert coded["top"].shape == real["top"].shape
    np.testing.assert_array_equal(coded["top"][0], real["top"][0])
    assert (coded["top"][1:] != real["top"][1:]).any()


def test_what_cannot_imagine_is_refused(trained: Path) -> None:
    with pytest.raises(ValueError, match="'lift' takes actions, no instructions"):
        open_imaginer("lift", device="cpu")
    with pytest.raises(ValueError, match=r"guidance=2\.0 would be ignored"):
        open_imaginer(str(trained), device="cpu", guidance=2.0)


@pytest.mark.parametrize(("width", "chunk"), [(5, 1), (3, 1), (5, 2)])
def test_it_begins_as_a_world_under_its_mean_action(width: int, chunk: int) -> None:
    torch.manual_seed(0)
    config = DynamicsConfig(2, 3, latent_size=(4, 4), context=3, chunk=chunk, sketch=True, dit=DIT)
    world = Dynamics(config)
    with torch.no_grad():
        for parameter in world.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        world.state_mean.fill_(0.5)
        world.action_mean.fill_(2.0)
    told = world.under(width)
    latent, state = torch.randn(2, 4, 4, 4), torch.randn(2, 2)
    noise = torch.randn(2, 3 + chunk, 4, 4, 4)
    ends = []
    for model, action in ((world, torch.zeros(2, chunk, 3)), (told, torch.randn(2, chunk, width))):
        history = History.begin(latent, state, context=3, action_dim=action.shape[2])
        for _ in range(4):
            history, logit = model.step(history, action, noise=noise, times=[1.0, 0.0], context_level=0.1)
        ends.append((history.latents, history.states, logit))
    for mine, theirs in zip(*ends, strict=True):
        torch.testing.assert_close(mine, theirs)
    assert (ends[0][0][:, -1] - latent).abs().max() > 0.01
    torch.testing.assert_close(told.state_mean, world.state_mean)
    torch.testing.assert_close(told.action_mean, torch.zeros(width))


def test_episodes_without_a_text_are_named(tmp_path: Path) -> None:
    write_dataset([pushed(0), replace(pushed(1), task="")], tmp_path / "data")
    with pytest.raises(ValueError, match=r"episode 1 of .* has no task text"):
        instructed_by(EpisodeStore(tmp_path / "data", cache=tmp_path), WORDS)


def test_the_commands_train_it_from_a_world_of_actions_and_dream(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--steps", "2", "--warmup", "1", "--save-every", "2", "--eval-every", "2", "--device", "cpu"]
    paths = ["--data", str(data), "--cache", str(tmp_path / "cache")]
    small = ["--encoder-width", "8", "--decoder-width", "8", "--latent-channels", "4"]
    main(["train", "tokenizer", *paths, *small, *few, "--out", str(tmp_path / "tokenizer")])
    few += ["--rollouts", "1", "--batch-size", "2"]
    sizes = ["--width", "32", "--blocks", "1", "--heads", "2", "--context", "2", "--no-sketch"]
    codec = ["--tokenizer", str(tmp_path / "tokenizer" / "export")]
    main(["train", "world", *paths, *codec, *sizes, *few, "--out", str(tmp_path / "acts")])
    more = ["--context", "2", "--no-sketch", "--init", str(tmp_path / "acts" / "export"), "--instructed"]
    main(["train", "world", *paths, *more, *sizes[:6], *few, "--out", str(tmp_path / "told")])
    model = tmp_path / "told" / "export"
    assert World.from_pretrained(model, device="cpu").config.words is not None
    assert f"cosmos-sim dream --model {model}" in capsys.readouterr().out
    assert "An instructed video world" in (model / "README.md").read_text()
    with pytest.raises(SystemExit):
        main(["train", "world", *paths, *codec, *few, "--instructed", "--twin", "Lift", "--out", str(tmp_path / "x")])
    assert "twin='Lift' has spaces of actions" in capsys.readouterr().err

    main(["train", "tokenizer", *paths, *small, *few[:-4], "--init", codec[1], "--out", str(tmp_path / "further")])
    both = ["--init", str(model), "--tokenizer", str(tmp_path / "further" / "export"), "--instructed", *more[:3]]
    main(["train", "world", *paths, *both, *sizes[:6], *few, "--out", str(tmp_path / "both")])
    first, second = (
        World.from_pretrained(path / "export", device="cpu") for path in (tmp_path / "told", tmp_path / "both")
    )
    changed = [
        not torch.equal(a, b) for a, b in zip(first.tokenizer.parameters(), second.tokenizer.parameters(), strict=True)
    ]
    assert any(changed)
    assert first.config.words == second.config.words

    reader = tmp_path / "reader"
    reader.mkdir()
    net = InverseDynamicsNet(
        InverseDynamicsConfig(("top",), 2, chunk=4, resolution=32, width=8, dim=16, blocks=1, heads=2, steps=2)
    )
    InverseDynamics(net, figures={}).write(reader)
    networks = ["--model", str(model), "--labeller", str(reader), "--device", "cpu"]
    options = ["--frames", "10", "--per-instruction", "2", "--unfiltered"]
    main(["dream", "--dataset", str(data), *networks, *options, "--out", str(tmp_path / "dreams")])
    info = dataset_info(tmp_path / "dreams")
    assert (info.episodes, set(info.tasks)) == (4, set(WAYS))
    assert all(len(episode) == 9 for episode in read_episodes(info.path))


def test_a_world_of_several_instructions_says_so_and_its_starts_keep_theirs(tmp_path: Path):
    write_dataset([pushed(0), pushed(1), pushed(2)], tmp_path / "data")
    store = EpisodeStore(tmp_path / "data", cache=tmp_path)
    assert spec_of(store, horizon=9).task == "one of 2 instructions"
    left, right = WAYS
    assert first_frames(store, [1, 2]).tasks == (right, left)
