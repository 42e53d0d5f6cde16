"""Batches made ahead of time, in order, the same however many threads make them."""

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from cosmos_sim.training.config import TrainConfig
from cosmos_sim.training.device import Stream, map_tensors, stream_generator
from cosmos_sim.training.layout import Layout, Part
from cosmos_sim.training.recipe import Recipe


def part_of_step(recipe: Recipe, layout: Layout, step: int) -> Part:
    """This process's part of the batch of a step, which the others of its context group share if the step splits."""
    splits = getattr(recipe, "splits", None)
    return layout.part(split=splits is None or bool(splits(step)))


def batches(recipe: Recipe, config: TrainConfig, layout: Layout, start: int) -> Generator[list[Any]]:
    """For each step from ``start`` on, this process's part of its ``config.accumulate`` batches, on its device."""
    pin = layout.device.type == "cuda"

    def make(step: int) -> list[Any]:
        generator = stream_generator(config.seed, step, Stream.BATCH)
        part = part_of_step(recipe, layout, step)
        drawn = [recipe.batch(step, generator, part) for _ in range(config.accumulate)]
        return map_tensors(drawn, torch.Tensor.pin_memory) if pin else drawn

    def place(drawn: list[Any]) -> list[Any]:
        placed: list[Any] = map_tensors(drawn, lambda tensor: tensor.to(layout.device, non_blocking=pin))
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
