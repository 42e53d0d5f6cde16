"""Small trainings of Predict2.5's recipe for the experiments beside this file, and videos of what they learned."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray

from cosmos_sim.data.clips import ClipSet
from cosmos_sim.data.pretrained import find_folder, shipped
from cosmos_sim.training import TrainConfig, train
from cosmos_sim.training.device import autocast, select_device
from cosmos_sim.training.layout import Layout, ParallelConfig
from cosmos_sim.training.parallel import parallelise
from cosmos_sim.world_model.dit import DiTConfig
from cosmos_sim.world_model.recipes.predict import PredictRecipe
from cosmos_sim.world_model.recipes.predict_conditions import row_width
from cosmos_sim.world_model.recipes.predict_config import PredictRecipeConfig
from cosmos_sim.world_model.recipes.predict_start import Start, begin
from cosmos_sim.world_model.recipes.stages import Stage
from cosmos_sim.world_model.rope import resolution_ratio
from cosmos_sim.world_model.tokenizer import Tokenizer
from cosmos_sim.world_model.tokenizer_folder import open_tokenizer


@cache
def tokenizer_of(name: str) -> Tokenizer:
    """A small tokenizer: the one of a shipped world, of a world's folder, or a folder of its own."""
    codec = open_tokenizer(find_folder(name, "world") if name in shipped("world") else name)
    if not isinstance(codec, Tokenizer):
        raise ValueError(f"{name!r} holds a Wan VAE; the networks here are made for small tokenizers")
    return codec


@dataclass(frozen=True)
class Training:
    """A network to train, and on what; all that two variants of a training share."""

    clips: ClipSet
    tokenizer: str
    stage: Stage
    width: int
    blocks: int
    heads: int
    cache: Path
    levels: tuple[float, ...]
    eval_clips: int
    sample_steps: int = 20

    def recipe(self, *, high_noise: float, seed: int, start: Start | None = None) -> PredictRecipe:
        """The recipe, from nothing or from ``start``."""
        codec = tokenizer_of(self.tokenizer)
        row = None
        if self.clips.action_dim is not None:
            row = row_width(None, codec, frames=self.stage.frames, action_dim=self.clips.action_dim)
        if start is None:
            network = DiTConfig(
                latent_channels=codec.config.latent_channels,
                model_channels=self.width,
                num_blocks=self.blocks,
                num_heads=self.heads,
                adaln_lora_dim=self.width // 4,
                context_dim=None,
                context_in_dim=None,
            )
            start = begin(
                None, config=network, action_dim=row, rope_ratio=resolution_ratio(*self.stage.sizes[0]), seed=seed
            )
        config = PredictRecipeConfig(
            data=(),
            tokenizer=self.tokenizer,
            dit=start.config,
            stage=self.stage,
            high_noise=high_noise,
            levels=self.levels,
            eval_clips=self.eval_clips,
            samples=self.eval_clips,
            sample_steps=self.sample_steps,
        )
        return PredictRecipe(config, self.clips, codec, start, cache=self.cache, seed=seed)

    def train(self, folder: Path, config: TrainConfig, *, high_noise: float) -> Path:
        """Train unless that is done, go on where it stopped; the folder of the averaged network."""
        recipe = self.recipe(high_noise=high_noise, seed=config.seed)
        recipe.config = replace(recipe.config, samples=0)
        train(recipe, config, folder)
        return folder / "export"

    def trained(self, export: Path, device: str, *, stage: Stage) -> PredictRecipe:
        """A trained network in a recipe of another ``stage``, to be judged on the held-out clips."""
        judged = replace(self, stage=stage)
        row = None
        if self.clips.action_dim is not None:
            row = row_width(None, tokenizer_of(self.tokenizer), frames=stage.frames, action_dim=self.clips.action_dim)
        recipe = judged.recipe(high_noise=0.0, seed=0, start=begin(export, action_dim=row))
        layout = Layout(ParallelConfig(), select_device(device))
        parallelise(recipe.model, recipe.units(), layout, bf16=False, initialise=recipe.initialise)
        recipe.model.eval()
        recipe.held_out = list({ref.key: ref for ref in recipe.held_out}.values())
        return recipe


@torch.no_grad()
def samples(
    recipe: PredictRecipe, device: str
) -> dict[str, tuple[UInt8[ndarray, "t h w 3"], UInt8[ndarray, "t h w 3"]]]:
    """By clip: the real video as the tokenizer gives it back, and the one that the network generates."""
    with autocast(select_device(device), "auto"):
        shown = recipe.sample(torch.Generator(select_device(device)).manual_seed(0))
    return {name: (video[:, : video.shape[1] // 2], video[:, video.shape[1] // 2 :]) for name, video in shown.items()}


def strips(pairs: Sequence[tuple[ndarray, ndarray]], *, columns: int = 5) -> UInt8[ndarray, "h w 3"]:
    """A picture: of each pair a row of real frames above a row of generated ones, from the first to the last."""
    rows = []
    for pair in pairs:
        for video in pair:
            chosen = np.linspace(0, len(video) - 1, columns).round().astype(int)
            rows.append(np.concatenate([video[k] for k in chosen], axis=1))
        rows.append(np.full((4, rows[-1].shape[1], 3), 255, np.uint8))
    return np.concatenate(rows[:-1])
