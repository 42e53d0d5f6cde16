"""Where the time of ``env.step`` goes, stage by stage, and how far the whole is from what the device can do.

    python benchmarks/profile_step.py                      # 1 and 16 worlds, where the world runs by default
    python benchmarks/profile_step.py --device cpu --worlds 1

Stages are timed by a stopwatch around the functions, the device brought to rest before each reading. That costs time
itself on a GPU, where the CPU otherwise runs ahead; the whole step is therefore timed without it, too. With
``--threads 1`` on a CPU the clock counts this process alone, so that other programs do not matter. Prints its tables
and keeps them beside this file.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clock import now
from provenance import provenance
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from cosmos_sim.envs.world_vector import CosmosWorldVector
from cosmos_sim.world_model.world import World

Stage = tuple[str, ...]


class Stopwatch:
    """Time spent in functions, by the stack of watched functions that each was called from."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stack: list[str] = []
        self.rounds: list[dict[Stage, float]] = []
        self.calls: dict[Stage, int] = defaultdict(int)

    def watch(self, owner: Any, function: str, name: str) -> None:
        """Time every call of ``owner.function`` from now on, as the stage ``name`` of its caller's."""
        inner = getattr(owner, function)

        def timed(*arguments: Any, **named: Any) -> Any:
            if not self.stack:
                self.calls.clear()
            self.stack.append(name)
            began = now(self.device)
            result = inner(*arguments, **named)
            spent = now(self.device) - began
            stage = tuple(self.stack)
            self.stack.pop()
            if self.rounds:
                self.rounds[-1][stage] += spent
                self.calls[stage] += 1
            return result

        setattr(owner, function, timed)

    def table(self) -> str:
        """Each stage in ms and its share, averaged over the faster half of the rounds; what is left of each."""
        totals = [sum(spent for stage, spent in one.items() if len(stage) == 1) for one in self.rounds]
        fast = [self.rounds[i] for i in np.argsort(totals)[: -(-len(totals) // 2)]]
        spent = {stage: float(np.mean([one[stage] for one in fast])) for stage in fast[0]}
        whole = sum(seconds for stage, seconds in spent.items() if len(stage) == 1)
        lines = [f"{'stage':44s} {'calls':>5s} {'ms':>8s} {'share':>6s}"]

        def put(stage: Stage) -> None:
            inside = [other for other in spent if other[:-1] == stage]
            if stage:
                lines.append(line("  " * (len(stage) - 1) + stage[-1], self.calls[stage], spent[stage]))
            for other in sorted(inside, key=lambda other: -spent[other]):
                put(other)
            rest = spent[stage] - sum(spent[other] for other in inside) if stage and inside else 0.0
            if rest > 0:
                lines.append(line("  " * len(stage) + "the rest of it", None, rest))

        def line(name: str, calls: int | None, seconds: float) -> str:
            return f"{name:44s} {'' if calls is None else calls:>5} {1000 * seconds:8.3f} {seconds / whole:6.1%}"

        put(())
        return "\n".join(lines)


class Counter(TorchDispatchMode):
    """The number of operations that do something: views left out."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += not operation.is_view
        return operation(*args, **(kwargs or {}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="lift", help="shipped name, folder or hub id")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--worlds", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--threads", type=int, help="of the CPU (default: all cores)")
    parser.add_argument("--out", type=Path, help="where to keep the output (default: beside this file)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)

    device = World.from_pretrained(arguments.world, device=arguments.device).device
    parts = [provenance(device),
        f"# python benchmarks/profile_step.py --world {arguments.world} --device {device}"
        f" --threads {torch.get_num_threads()}"]  # fmt: skip
    peak = measured_peak(device, torch.bfloat16), measured_peak(device, torch.float32)
    parts.append(f"matrix product of 2048x2048: {peak[0] / 1e12:.2f} TFLOP/s in bf16, {peak[1] / 1e12:.2f} in fp32")
    for worlds in arguments.worlds:
        parts.append(profile(arguments.world, device, worlds, arguments.steps, peak))
        print(parts[-1], flush=True)
    out = arguments.out or Path(__file__).with_name(f"profile_step_{device.type}.txt")
    out.write_text("\n\n".join(parts) + "\n")
    print(f"kept in {out}")


def profile(name: str, device: torch.device, worlds: int, steps: int, peak: tuple[float, float]) -> str:
    """The tables and figures of ``worlds`` worlds side by side."""
    plain = {dtype: environment(World.from_pretrained(name, device=str(device), dtype=dtype), worlds)
             for dtype in ("auto", "float32", "bfloat16")}  # fmt: skip
    speeds = side_by_side({dtype: stepper(env) for dtype, env in plain.items()}, steps, device)

    world = World.from_pretrained(name, device=str(device))
    env = environment(world, worlds)
    step = stepper(env)
    step()
    with FlopCounterMode(display=False) as whole, Counter() as counter:
        step()
    latent = world.config.dynamics.dit.latent_channels, *world.config.dynamics.latent_size
    with FlopCounterMode(display=False) as decoding, torch.inference_mode():
        world.decode(torch.zeros(worlds, 1, *latent, device=device))
    stopwatch = Stopwatch(device)
    watch_everything(stopwatch, env, world)
    for begin in (step, lambda: env.reset(seed=0)):
        for _ in range(steps):
            stopwatch.rounds.append(defaultdict(float))
            begin()
        if begin is step:
            table, stopwatch.rounds = stopwatch.table(), []
    rows, columns = (s // p for s, p in zip(world.config.dynamics.latent_size, world.config.dynamics.dit.patch[1:],
                                            strict=True))  # fmt: skip
    flops, in_decoder = whole.get_total_flops() / 1e9, decoding.get_total_flops() / 1e9
    floor = 1e12 * flops / peak[0 if world.dtype == torch.bfloat16 else 1]
    default, dtype = 1000 * speeds["auto"], str(world.dtype).removeprefix("torch.")
    window, evaluations = world.config.dynamics.window, len(world.times) - 1
    return f"""== {worlds} world{"s" * (worlds > 1)}, weights in {dtype}

{table}

{stopwatch.table()}

without the stopwatch: {default:.2f} ms a step, {worlds / speeds["auto"]:.1f} steps/s in total
in float32 {1000 * speeds["float32"]:.2f} ms, in bfloat16 {1000 * speeds["bfloat16"]:.2f} ms
arithmetic: {flops:.2f} GFLOP a step, {in_decoder:.2f} of them in the decoder; at the measured peak in {dtype}
  {floor:.2f} ms: the step takes {default / floor:.1f} times this floor
operations: {counter.operations} a step, views left out
tokens: {rows * columns} a world and evaluation, {evaluations} evaluation(s). The {window} frames of the window are
  channels of one column of tokens: a step reads no token of an earlier step, so there is no key or value that a cache
  could keep."""


def watch_everything(stopwatch: Stopwatch, env: CosmosWorldVector, world: World) -> None:
    dynamics = world.dynamics
    stopwatch.watch(env, "step", "env.step")
    stopwatch.watch(env, "reset", "env.reset")
    stopwatch.watch(world, "step", "world.step")
    stopwatch.watch(world, "reset", "world.reset")
    stopwatch.watch(world.noise, "forward", "noise")
    stopwatch.watch(world.tokenizer, "encode", "encode")
    stopwatch.watch(world.tokenizer, "decode", "decode, all cameras")
    stopwatch.watch(world.tokenizer.vae.decoder, "forward", "decoder")
    stopwatch.watch(dynamics, "step", "dynamics")
    for name, module in dynamics.named_children():
        stopwatch.watch(module, "forward", {"dit": "transformer, an evaluation"}.get(name, name))
    for name, module in dynamics.dit.named_children():
        if not isinstance(module, nn.ModuleList):
            stopwatch.watch(module, "forward", name)
    for block in dynamics.dit.blocks:
        stopwatch.watch(block, "forward", "blocks")
        for name, module in block.named_children():
            stopwatch.watch(module, "forward", name)


def environment(world: World, worlds: int) -> CosmosWorldVector:
    return CosmosWorldVector(worlds, world, horizon=10**9, success_frames=10**9)


def stepper(env: CosmosWorldVector) -> Callable[[], Any]:
    """A function that takes one step, with new random actions each time."""
    env.reset(seed=0)
    env.action_space.seed(0)
    return lambda: env.step(env.action_space.sample())


def side_by_side(steps: dict[str, Callable[[], Any]], rounds: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each, in turn, so that a machine that slows down slows all."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 3):
        for name, step in steps.items():
            began = now(device)
            step()
            seconds[name].append(now(device) - began)
    return {name: float(np.median(values[3:])) for name, values in seconds.items()}


def measured_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a matrix product, the best of ten."""
    a = torch.randn(2048, 2048, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(10):
        began = now(device)
        a @ a
        best = min(best, now(device) - began)
    return 2 * 2048**3 / best


if __name__ == "__main__":
    main()
