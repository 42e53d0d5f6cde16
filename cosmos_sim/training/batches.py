"""Batches made ahead of time, in order, the same however many threads make them."""

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from cosmos_sim.training.config import TrainConfig
from cosmos_sim.training.device import Stream, map_tensors, stream_generator
from cosmos_sim.training.recipe import Recipe


def batches(recipe: Recipe, config: TrainConfig, device: torch.device, start: int) -> Generator[list[Any]]:
    """For each step from ``start`` on, its ``config.accumulate`` batches, on ``device``."""
    pin = device.type == "cuda"

    def make(step: int) -> list[Any]:
        generator = stream_generator(config.seed, step, Stream.BATCH)
        drawn = [recipe.batch(step, generator) for _ in range(config.accumulate)]
        return map_tensors(drawn, torch.Tensor.pin_memory) if pin else drawn

    def place(drawn: list[Any]) -> list[Any]:
        placed: list[Any] = map_tensors(drawn, lambda tensor: tensor.to(device, non_blocking=pin))
        return placed

    if not config.prefetch:
        yield from (place(make(step)) for step in range(start, config.steps))
        return
    pool = ThreadPoolExecutor(config.prefetch, thread_name_prefix="batch")
    try:
        ahead: deque[Future[list[Any]]] = deque()
        for step in range(start, config.steps + config.prefetch):
            if step < config.steps:
                ahead.append(pool.submit(make, step))
            if step >= start + config.prefetch:
                yield place(ahead.popleft().result())
    finally:
        pool.shutdown(cancel_futures=True)
