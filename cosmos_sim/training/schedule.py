"""The learning rate over a run."""

import math

from cosmos_sim.training.config import TrainConfig


def learning_rate(step: int, config: TrainConfig) -> float:
    """The learning rate of step ``step`` (from 0).

    ``lr * (step + 1) / warmup`` while that is below ``lr``; after it, with ``p`` going from 0 to 1 at the last step,
    ``lr * (1 - (1 - final_lr) * p)`` (linear) or ``lr * (final_lr + (1 - final_lr) * (1 + cos(pi p)) / 2)`` (cosine).
    """
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - 1 - config.warmup)
    fall = progress if config.decay == "linear" else (1 - math.cos(math.pi * progress)) / 2
    return config.lr * (1 - (1 - config.final_lr) * fall)
