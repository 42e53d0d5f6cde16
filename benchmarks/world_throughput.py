"""Steps a second of many learned worlds as one batch, in every way a step can be run, beside the simulator.

    python benchmarks/world_throughput.py                          # whatever device there is
    python benchmarks/world_throughput.py --ways eager compiled    # on a CPU, compiling takes a minute for each size

Every way is compared with the plain one first: from the same state, by the same actions, how many of 255 levels apart
frames come out. Then all ways and the simulator (one world in one process, as it comes) take turns, so that a machine
that slows down slows all. ``env.step`` is what users call: frames arrive as NumPy arrays on the CPU. With ``--threads
1`` on a CPU the clock counts this process alone (steps a second of one core), so that other programs do not matter.
Prints its tables and keeps them beside this file.
"""

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from clock import now
from log import Log
from provenance import provenance

from cosmos_sim.envs.world_vector import CosmosWorldVector
from cosmos_sim.world_model.world import World

WAYS = {
    "eager": {},
    "compiled": {"compiled": True},
    "graphs": {"graphs": True},
    "compiled+graphs": {"compiled": True, "graphs": True},
}
BARS = {("cuda", 16): 1000.0, ("cpu", 1): 8.0}
"""Steps a second in total, by device and number of worlds; the first is meant for an H200, the second for 2 cores."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="lift", help="shipped name, folder or hub id")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--worlds", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--ways", nargs="+", choices=WAYS, help="default: all on CUDA, eager on a CPU")
    parser.add_argument("--threads", type=int, help="of the CPU (default: all cores)")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each way and number of worlds")
    parser.add_argument("--no-twin", action="store_true", help="leave the simulator out, where it cannot render")
    parser.add_argument("--out", type=Path, help="where to keep the output (default: beside this file)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)

    device = World.from_pretrained(arguments.world, device=arguments.device).device
    ways = arguments.ways or (list(WAYS) if device.type == "cuda" else ["eager"])
    log = Log(arguments.out or Path(__file__).with_name(f"world_throughput_{device.type}.txt"))
    log(provenance(device))
    log(f"# python benchmarks/world_throughput.py --world {arguments.world} --device {device} --ways {' '.join(ways)} "
        f"--threads {torch.get_num_threads()}")  # fmt: skip
    loaded = {way: World.from_pretrained(arguments.world, device=str(device), **WAYS[way]) for way in ways}
    reference = loaded.get("eager") or World.from_pretrained(arguments.world, device=str(device))
    log(f"# {reference.spec.task!r}, {reference.dtype}, {len(reference.times) - 1} evaluation(s) a step, "
        f"cameras {dict(reference.spec.cameras)}")  # fmt: skip
    twin = (
        None
        if arguments.no_twin
        else stepper(gymnasium.make("cosmos_sim:CosmosTwin-v0", terminate_on_success=False), device)
    )

    log("\nworlds  way              env.step/s  world.step/s  / simulator  first step, s  levels apart  memory, MiB")
    reached: dict[int, float] = {}
    for worlds in arguments.worlds:
        steps: dict[str, Callable[[], float]] = {} if twin is None else {"twin": twin}
        facts = {}
        for way, world in loaded.items():
            began = time.perf_counter()  # compiling is done by other processes
            apart = difference(world, reference, worlds)
            facts[way] = (time.perf_counter() - began, apart)
            steps[f"env {way}"] = stepper(CosmosWorldVector(worlds, world, horizon=10**9, success_frames=10**9), device)
            steps[f"world {way}"] = bare_stepper(world, worlds)
        seconds = side_by_side(steps, arguments.seconds)
        for way in ways:
            speed = worlds / seconds[f"env {way}"]
            reached[worlds] = max(reached.get(worlds, 0.0), speed)
            ratio = f"{speed * seconds['twin']:.2f}" if twin else "-"
            log(f"{worlds:6d}  {way:16s} {speed:10.1f}  {worlds / seconds[f'world {way}']:12.1f}  {ratio:>11s}  "
                f"{facts[way][0]:13.1f}  {facts[way][1]:12d}  {memory(device):11.0f}")  # fmt: skip
    if twin:
        log(f"\nsimulator: {1 / seconds['twin']:.1f} steps/s in one process")
    for (kind, worlds), bar in BARS.items():
        if kind == device.type and worlds in reached:
            verdict = "met" if reached[worlds] >= bar else "NOT met"
            log(f"bar for {worlds} world(s): {bar:.0f} steps/s, {verdict} with {reached[worlds]:.1f}")


def begin(world: World, worlds: int) -> Any:
    """The state of ``worlds`` worlds at the shipped starts, in order and over again."""
    assert world.starts is not None
    rows = np.arange(worlds) % len(world.starts.state)
    frames = {camera: images[rows] for camera, images in world.starts.frames.items()}
    return world.reset(frames, world.starts.state[rows], list(range(worlds)))


def difference(world: World, reference: World, worlds: int) -> int:
    """The largest difference of two worlds' frames after one step, in levels of 255."""
    actions = np.random.default_rng(0).uniform(-1, 1, (worlds, 1, world.spec.action_dim)).astype(np.float32)
    ours, theirs = (one.step(begin(one, worlds), actions)[1].frames for one in (world, reference))
    return max(int(np.abs(ours[camera].astype(int) - theirs[camera]).max()) for camera in ours)


def stepper(env: gymnasium.Env | gymnasium.vector.VectorEnv, device: torch.device) -> Callable[[], float]:
    """A function that takes one step, or begins the next episode where a single environment has ended."""
    env.reset(seed=0)
    env.action_space.seed(0)

    def step() -> float:
        action = env.action_space.sample()
        began = now(device)
        *_, terminated, truncated, _ = env.step(action)
        spent = now(device) - began
        if np.any(terminated) or np.any(truncated):
            env.reset()
        return spent

    return step


def bare_stepper(world: World, worlds: int) -> Callable[[], float]:
    state = begin(world, worlds)
    actions = np.zeros((worlds, 1, world.spec.action_dim), dtype=np.float32)

    def step() -> float:
        nonlocal state
        began = now(world.device)
        state, _ = world.step(state, actions)
        return now(world.device) - began

    return step


def side_by_side(steps: dict[str, Callable[[], float]], seconds: float) -> dict[str, float]:
    """Median seconds of each, in turn; each runs for about ``seconds``, and at least five times."""
    for step in [*steps.values()] * 2:
        step()
    spent: dict[str, list[float]] = {name: [] for name in steps}
    while any(sum(values) < seconds or len(values) < 5 for values in spent.values()):
        for name, step in steps.items():
            if sum(spent[name]) < seconds or len(spent[name]) < 5:
                spent[name].append(step())
    return {name: float(np.median(values)) for name, values in spent.items()}


def memory(device: torch.device) -> float:
    """MiB at most so far: of the device on CUDA, of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


if __name__ == "__main__":
    main()
