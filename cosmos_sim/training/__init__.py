"""One training loop for everything that learns: tokenizer, world, inverse dynamics and policies. It knows no model."""

from cosmos_sim.training.config import TrainConfig
from cosmos_sim.training.loop import train
from cosmos_sim.training.recipe import Recipe

__all__ = ["Recipe", "TrainConfig", "train"]
