"""The recipe of control branches: the network stays as it is, the branch learns what its control shows."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy import ndarray
from tiny_clips import video_folder
from tiny_predict import DIT, WordText, tiny_dit, tiny_wan
from tiny_recipe import VIDEO, loss, train_some

from cosmos_sim.data.clips import ClipSet
from cosmos_sim.data.sources import open_source
from cosmos_sim.training import TrainConfig, train
from cosmos_sim.training.layout import Layout, ParallelConfig, Part
from cosmos_sim.training.parallel import parallelise
from cosmos_sim.world_model.checkpoints.control import open_control
from cosmos_sim.world_model.checkpoints.load import controlled
from cosmos_sim.world_model.checkpoints.network import Network, save_ours
from cosmos_sim.world_model.checkpoints.source import open_source as open_checkpoint
from cosmos_sim.world_model.checkpoints.stored import held
from cosmos_sim.world_model.control import Control, ControlConfig, ControlledDiT
from cosmos_sim.world_model.recipes.control import ControlRecipe
from cosmos_sim.world_model.recipes.control_config import ControlRecipeConfig
from cosmos_sim.world_model.recipes.control_extract import Extractor, View
from cosmos_sim.world_model.recipes.predict_adapter import AdapterConfig
from cosmos_sim.world_model.recipes.predict_start import Start, begin
from cosmos_sim.world_model.recipes.predict_text import Captions
from cosmos_sim.world_model.recipes.stages import Stage

Draw = Callable[[View, int], ndarray]


def levels(view: View, seed: int) -> ndarray:
    """Frames in a few grey levels, which the seed says."""
    return np.repeat((view.frames[..., :1] // (64 + seed % 32)) * 64, 3, axis=3).astype(np.uint8)


def same(view: View, seed: int) -> ndarray:
    return view.frames


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("control")
    video_folder(folder / "data", videos=4)
    save_ours(Network(DIT, {name: held(x) for name, x in tiny_dit().state_dict().items()}), folder / "base")
    return folder


def make(
    place: Path,
    cache: Path,
    draw: Draw = levels,
    *,
    stage: Stage = VIDEO,
    start: Start | None = None,
    kind: str = "edge",
    data: str = "data",
    random: bool = True,
    **options: Any,
) -> ControlRecipe:
    start = start or begin(place / "base")
    clips = ClipSet([open_source(place / data)], frames=stage.frames, fps=stage.fps, sizes=stage.sizes, cache=cache)
    few: dict[str, Any] = {"levels": (0.3, 0.9), "eval_clips": 2, "samples": 1, "sample_steps": 2, "variants": 3}
    config = ControlRecipeConfig(
        data=(data,),
        tokenizer="tiny",
        dit=start.config,
        stage=stage,
        init="base",
        text="reason1",
        control="edge",
        branch=ControlConfig.beside(start.config, blocks=2),
        **{**few, **options},
    )
    extract = Extractor(kind, draw, random=random)
    captions = Captions(WordText(), clips.captions())
    recipe = ControlRecipe(
        config, clips, tiny_wan(), start, extract, cache=cache / "latents", captions=captions, workers=1
    )
    layout = Layout(ParallelConfig(), torch.device("cpu"))
    parallelise(recipe.model, recipe.units(), layout, bf16=False, initialise=recipe.initialise)
    return recipe


def test_a_new_branch_is_silent_and_the_network_stays_as_it_is(place, tmp_path):
    """Copies of its blocks beside it; without the control it has the same loss before and after."""
    recipe = make(place, tmp_path)
    model = recipe.model
    assert isinstance(model, ControlledDiT)
    stored = {name: tensor.read() for name, tensor in recipe.start.stored.items()}
    own = model.branches["edge"].state_dict()
    for name in ("self_attn.q_proj.weight", "mlp.layer1.weight", "adaln_modulation_mlp.2.weight"):
        assert torch.equal(own[f"control_blocks.1.{name}"], stored[f"blocks.1.{name}"])
    with torch.no_grad():
        before = recipe.evaluate(torch.Generator())
    assert before["loss"] == before["without_loss"]
    losses = train_some(recipe, 3)
    assert np.isfinite(losses).all()
    for name, tensor in model.base.state_dict().items():
        assert torch.equal(tensor, stored[name]), name
    with torch.no_grad():
        after = recipe.evaluate(torch.Generator())
    assert after["without_loss/0.3"] == before["without_loss/0.3"]
    assert after["loss"] != after["without_loss"]


def test_what_a_control_shows_is_learnt(place, tmp_path):
    """A control that is the video itself, on one clip, at much noise: the branch tells the network what comes."""
    stage = replace(VIDEO, images=0.0, known=(1.0,), text_dropout=0.0, batch_size=2)
    recipe = make(place, tmp_path, same, stage=stage, random=False, levels=(0.9,))
    ref = recipe.clips.draw(1, torch.Generator(), images=False, part=Part())[0]
    recipe.held_out = [ref]
    recipe.clips.draw = lambda count, generator, **given: [ref] * count  # type: ignore[method-assign]
    train_some(recipe, 40)
    with torch.no_grad():
        figures = recipe.evaluate(torch.Generator())
    assert figures["loss"] < 0.7 * figures["without_loss"]


def test_every_control_is_encoded_once(place, tmp_path):
    """As many of a clip as there are variants, each with a seed of its own; found again by another run."""
    recipe = make(place, tmp_path, variants=2)
    seen = {}
    draw = recipe.extract.draw

    def count(view: View, seed: int) -> ndarray:
        seen[seed] = seen.get(seed, 0) + 1
        return draw(view, seed)

    recipe.extract = replace(recipe.extract, draw=count)
    with torch.no_grad():
        first = [float(loss(recipe, step)) for step in range(12)]
    again = make(place, tmp_path, variants=2)
    with torch.no_grad():
        assert [float(loss(again, step)) for step in range(12)] == first
    assert again.latents.encoded == 0
    assert max(seen.values()) == 1
    clips = {clip.key for step in range(12) for clip in again.batch(step, torch.Generator().manual_seed(step)).clips}
    assert len(clips) < len(seen) <= 2 * len(clips)
    fixed = make(place, tmp_path / "fixed", same, random=False)
    keys = {clip.key for clip in fixed.batch(0, torch.Generator().manual_seed(0)).controls}
    assert all(key.startswith("edge1.0-") for key in keys)


def test_the_loss_is_the_same_in_two_parts(place, tmp_path):
    recipe = make(place, tmp_path)
    train_some(recipe, 1)
    with torch.no_grad():
        whole = loss(recipe, 3)
        parts = [loss(recipe, 3, Part(k, 2)) for k in range(2)]
    assert torch.stack(parts).mean().item() == pytest.approx(whole.item(), rel=1e-6)


def test_a_clip_that_stands_in_comes_with_its_own_control(place, tmp_path):
    """The latents of another are of no use beside it."""
    folder = video_folder(tmp_path / "data", videos=4, pictures=0)
    data = bytearray((folder / "video0.mp4").read_bytes())
    data[len(data) // 3 : len(data) // 3 + 400] = np.random.default_rng(0).bytes(400)
    (folder / "video0.mp4").write_bytes(bytes(data))
    stage = replace(VIDEO, images=0.0, batch_size=8)
    recipe = make(place, tmp_path / "cache", same, stage=stage, data=str(folder), random=False)
    with pytest.warns(UserWarning, match="video0.mp4"):
        batches = [recipe.batch(step, torch.Generator().manual_seed(step)) for step in range(3)]
    for batch in batches:
        for clip, control in zip(batch.clips, batch.controls, strict=True):
            assert control.key == f"edge1.0-{clip.key}"
            assert torch.equal(control.frames, clip.frames)


def test_through_the_loop_to_a_folder(place, tmp_path):
    """Sample videos with the control between the real and the generated; the exported branch computes the same."""
    recipe = make(place, tmp_path / "cache", stage=replace(VIDEO, images=0.0))
    tokens, operations = recipe.cost(recipe.batch(0, torch.Generator()))
    assert tokens == 4 * 18
    assert operations > 0
    with torch.no_grad():
        (shown,) = recipe.sample(torch.Generator()).values()
    assert shown.shape == (9, 3 * 32, 48, 3)
    config = TrainConfig(steps=2, warmup=1, lr=1e-2, ema=0.0, device="cpu", autocast="fp32", prefetch=0)
    figures = train(recipe, config, tmp_path / "run")
    assert set(figures) == {f"{start}loss{end}" for start in ("", "without_") for end in ("", "/0.3", "/0.9")}
    assert list((tmp_path / "run" / "samples").rglob("*.mp4"))
    export = tmp_path / "run" / "export"
    assert "without_loss/0.9" in (export / "README.md").read_text()
    found = open_control(open_checkpoint(export), base=open_checkpoint(place / "base"))
    assert list(found.branches) == ["edge"]
    model = controlled(found, device=torch.device("cpu"), dtype=torch.float32)
    noise = torch.randn(1, 4, 3, 4, 6, generator=torch.Generator().manual_seed(1))
    given = (noise, torch.full((1, 3), 500.0), torch.zeros(1, 1, 3, 4, 6))
    more = {"context": WordText().encode(["left"]), "controls": {"edge": Control(noise.flip(2))}}
    with torch.no_grad():
        expected = recipe.model(*given, **more)
        torch.testing.assert_close(model(*given, **more), expected)
        assert not torch.equal(recipe.model(*given, **{**more, "controls": {}}), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "blur"}, "control='edge', but videos of the control 'blur' are made"),
        ({"variants": 0}, "variants must be at least 1, not 0"),
        ({"adapter": AdapterConfig(rank=2)}, "adapter would be ignored"),
        ({"start": Start(DIT)}, "beside a network that is trained already: there is none"),
        ({"stage": replace(VIDEO, sizes=((32, 40),))}, "32x40 do not divide"),
    ],
)
def test_what_does_not_go_together_is_refused(place, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        make(place, tmp_path, **changes)


def test_a_network_that_lacks_weights_is_refused(place, tmp_path):
    lacking = replace(DIT, action_dim=8)
    found = begin(place / "base", action_dim=8)
    assert found.config == lacking
    with pytest.raises(ValueError, match="it lacks action_embedder"):
        make(place, tmp_path, start=found)


def test_controls_of_segments_need_annotations(place, tmp_path):
    recipe = make(place, tmp_path)
    recipe.extract = replace(recipe.extract, annotated=True)
    with pytest.raises(ValueError, match="has no annotations, which the control edge is made of"):
        recipe.batch(0, torch.Generator())
