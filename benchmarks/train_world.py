"""Clips a second in training the small world, and how busy the device is, with latents on disk.

    cosmos-sim collect --task Lift --episodes 60 --out runs/lift
    python benchmarks/train_world.py --data runs/lift                   # on CUDA
    python benchmarks/train_world.py --data runs/lift --device cpu --threads 1

The training step of `cosmos-sim train world --init lift`, fed as the training loop feeds it. The same steps are timed
again on one batch that is there already: what is missing to that speed is waiting for data. On CUDA, busy is the time
in which kernels ran, by torch's profiler. Prints, and keeps the output beside this file.
"""

import argparse
import itertools
import math
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from clock import now
from log import Log
from provenance import provenance
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from cosmos_sim.data.pretrained import find_folder
from cosmos_sim.data.store import EpisodeStore
from cosmos_sim.training.batches import batches
from cosmos_sim.training.config import TrainConfig
from cosmos_sim.training.device import autocast, stream_generator
from cosmos_sim.training.ema import Ema
from cosmos_sim.training.layout import Layout
from cosmos_sim.training.optimizer import make_optimizer
from cosmos_sim.training.parallel import clip_gradients
from cosmos_sim.world_model.recipes.world import WorldRecipe, WorldRecipeConfig
from cosmos_sim.world_model.world import read_networks

BUSY = 0.90
"""The share of the time that an H200 is meant to compute."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a LeRobot dataset with the world's cameras")
    parser.add_argument("--init", default="lift", help="the world that training goes on from")
    parser.add_argument("--cache", type=Path, help="decoded frames and latents; beside the data by default")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--threads", type=int, help="of the CPU (default: all cores)")
    parser.add_argument("--batch", type=int, nargs="+", help="512 and 2048 on CUDA, 32 on a CPU")
    parser.add_argument("--steps", type=int, help="that are timed, after a fifth as many; 200 on CUDA, 20 on a CPU")
    parser.add_argument("--prefetch", type=int, default=4, help="batches made ahead, each in a thread")
    parser.add_argument("--out", type=Path, help="where to keep the output (default: beside this file)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    on_gpu = device.type == "cuda"
    steps = arguments.steps or (200 if on_gpu else 20)
    log = Log(arguments.out or Path(__file__).with_name(f"train_world_{device.type}.txt"))
    log(provenance(device))
    cache = arguments.cache or arguments.data.with_name("cache")
    networks = read_networks(find_folder(arguments.init, "world"))
    store = EpisodeStore(arguments.data, cache=cache, progress=True)
    for batch in arguments.batch or ([512, 2048] if on_gpu else [32]):
        config = WorldRecipeConfig(
            str(arguments.data), arguments.init, networks.config.dynamics, batch, rollouts=(24,), stages=()
        )
        recipe = WorldRecipe(config, store, networks.tokenizer, cache=cache, init=networks.dynamics)
        measure(recipe, TrainConfig(steps=10**6, prefetch=arguments.prefetch), device, steps, log)


def measure(recipe: WorldRecipe, config: TrainConfig, device: torch.device, steps: int, log: Log) -> None:
    """Time ``steps`` fed by the loop's batches, and as many on a batch that is there."""
    recipe.model.to(device).train()
    optimizer = make_optimizer(recipe.model, config)
    average = Ema(recipe.model, config.ema, config.ema_kind)
    parameters = list(recipe.model.parameters())
    generator = stream_generator(0, 0, 1, device)
    count = itertools.count()

    def run(source: Iterable[list[Any]], number: int) -> float:
        begin = now(device)
        for drawn in itertools.islice(source, number):
            step = next(count)
            with autocast(device, config.autocast):
                loss: Tensor = recipe.loss(drawn[0], step, generator)["loss"]
            loss.backward()
            clip_gradients(parameters, config.grad_clip or math.inf)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            average.update(step)
        return now(device) - begin

    warm = max(2, steps // 5)
    with closing(batches(recipe, config, Layout(config.parallel, device), 0)) as source:
        run(source, warm)
        fed = run(source, steps)
        busy = None
        if device.type == "cuda":
            with profile(activities=[ProfilerActivity.CUDA]) as profiler:
                seconds = run(source, warm)
            busy = sum(event.self_device_time_total for event in profiler.key_averages()) / 1e6 / seconds
        ready = next(source)
    alone = run(itertools.repeat(ready), steps)
    rate = recipe.batch_size * steps / fed
    log(
        f"batch {recipe.batch_size:5d}: {rate:9.1f} clips/s, {fed / steps * 1e3:8.2f} ms a step, of which "
        f"{alone / fed:.0%} computing, the rest waiting for data"
    )
    if busy is not None:
        log(f"             kernels ran {busy:.0%} of the time (bar on an H200: {BUSY:.0%})")


if __name__ == "__main__":
    main()
