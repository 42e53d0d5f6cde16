"""A recipe on a small set of clips, and a few steps of it without the training loop."""

from pathlib import Path
from typing import Any

import torch
from tiny_predict import DIT, WordText, tiny_wan

from cosmos_sim.data.clips import ClipSet
from cosmos_sim.data.sources import open_source
from cosmos_sim.training.layout import WHOLE, Layout, ParallelConfig, Part
from cosmos_sim.training.parallel import parallelise
from cosmos_sim.world_model.dit import DiTConfig
from cosmos_sim.world_model.recipes.predict import PredictRecipe
from cosmos_sim.world_model.recipes.predict_adapter import AdapterConfig
from cosmos_sim.world_model.recipes.predict_conditions import row_width
from cosmos_sim.world_model.recipes.predict_config import PredictRecipeConfig
from cosmos_sim.world_model.recipes.predict_start import begin
from cosmos_sim.world_model.recipes.predict_text import Captions
from cosmos_sim.world_model.recipes.stages import Stage

VIDEO = Stage(sizes=((32, 48),), frames=9, images=0.4, shift=2.0, batch_size=4)
ACTION = Stage(sizes=((32, 48),), frames=13, images=0.0, known=(0.0, 1.0), actions=True, batch_size=2)


def make(
    data: Path,
    cache: Path,
    stage: Stage = VIDEO,
    *,
    init: Path | None = None,
    dit: DiTConfig = DIT,
    adapter: AdapterConfig | None = None,
    text: bool = True,
    seed: int = 0,
    options: dict[str, Any] | None = None,
    **opening: Any,
) -> PredictRecipe:
    """A recipe, its network in memory and initialised."""
    clips = ClipSet(
        [open_source(data, **opening)],
        frames=stage.frames,
        fps=stage.fps,
        sizes=stage.sizes,
        cache=cache,
        actions=stage.actions,
    )
    codec = tiny_wan()
    row = None
    if clips.action_dim is not None:
        row = row_width(dit, codec, frames=stage.frames, action_dim=clips.action_dim)
    start = begin(init, config=None if init else dit, action_dim=row, seed=seed)
    captions = Captions(WordText(), clips.captions()) if text and start.config.context_dim else None
    few: dict[str, Any] = {"levels": (0.3, 0.9), "eval_clips": 2, "samples": 1, "sample_steps": 2}
    config = PredictRecipeConfig(
        data=(str(data),),
        tokenizer="tiny",
        dit=start.config,
        stage=stage,
        init=None if init is None else str(init),
        adapter=adapter,
        text=None if captions is None else "words",
        **{**few, **(options or {})},
    )
    recipe = PredictRecipe(config, clips, codec, start, cache=cache / "latents", captions=captions, workers=1)
    layout = Layout(ParallelConfig(), torch.device("cpu"))
    parallelise(recipe.model, recipe.units(), layout, bf16=False, initialise=recipe.initialise)
    return recipe


def loss(recipe: PredictRecipe, step: int, part: Part = WHOLE) -> torch.Tensor:
    batch = recipe.batch(step, torch.Generator().manual_seed(step), part)
    return recipe.loss(batch, step, torch.Generator())["loss"]


def train_some(recipe: PredictRecipe, steps: int = 2, *, lr: float = 1e-2) -> list[float]:
    """The losses of the first steps."""
    optimizer = torch.optim.AdamW([p for p in recipe.model.parameters() if p.requires_grad], lr=lr)
    losses = []
    for step in range(steps):
        found = loss(recipe, step)
        found.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(found.item())
    return losses
