"""The learning rate over a run."""

import math

from cosmos_sim.training.config import TrainConfig


def learning_rate(step: int, config: TrainConfig) -> float:
    """The learning rate of step ``step`` (from 0).

    In the warm-up ``lr * start_lr * (step + 1) / warmup``; after it ``lr * (start_lr + (final_lr - start_lr) * f)``,
    with ``f = p`` (linear) or ``(1 - cos(pi p)) / 2`` (cosine); ``p`` goes from 0 to 1 in ``decay_steps`` and stays.
    In the cooldown, times a factor that falls linearly from 1, at the step before it, to 0, after the last step.
    """
    end = config.steps - config.cooldown
    if step >= end:
        return learning_rate(end - 1, config) * (config.steps - step) / (config.cooldown + 1)
    if step < config.warmup:
        return config.lr * config.start_lr * (step + 1) / config.warmup
    span = max(1, end - 1 - config.warmup) if config.decay_steps is None else config.decay_steps
    progress = min(1.0, (step - config.warmup) / span)
    fall = progress if config.decay == "linear" else (1 - math.cos(math.pi * progress)) / 2
    return config.lr * (config.start_lr + (config.final_lr - config.start_lr) * fall)
