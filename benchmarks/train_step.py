"""One step of training a network: its time, MFU and memory, beside the plan's and what its parts could reach.

    python benchmarks/train_step.py                                      # the 2B, 93 frames of 704x1280, on CUDA
    python benchmarks/train_step.py --levels attention full --no-compile
    python benchmarks/train_step.py --device cpu                         # a small network, a small video

The step is the training loop's: fp32 weights under autocast, the loss of Predict2.5 on random latents and text, AdamW,
clipping and the average of the weights. The ceiling is timed in the same run at the same shapes: attention forward and
backward, and the matrix products of one block forward and backward, times the number of blocks, with nothing between
them. MFU counts three forward passes and nothing that is computed again; on a CPU, against what a large bf16 product
reaches in the same run. Prints its tables and keeps them beside this file.
"""

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from clock import now
from log import Log
from provenance import provenance
from torch import Tensor

from cosmos_sim.training.config import TrainConfig
from cosmos_sim.training.device import autocast
from cosmos_sim.training.ema import Ema
from cosmos_sim.training.layout import Checkpointing, Layout, ParallelConfig
from cosmos_sim.training.optimizer import make_optimizer
from cosmos_sim.training.parallel import clip_gradients, parallelise
from cosmos_sim.training.speed import peak_flops
from cosmos_sim.world_model.attention import attention_kernels
from cosmos_sim.world_model.dit import DiT, DiTConfig, initialise, preset
from cosmos_sim.world_model.flops import utilisation
from cosmos_sim.world_model.flow import interpolate
from cosmos_sim.world_model.plan_memory import Memory, Moment, memory
from cosmos_sim.world_model.plan_speed import Cost, cost
from cosmos_sim.world_model.plan_workload import TEXT_TOKENS, Workload, resolution
from cosmos_sim.world_model.recipes.predict_loss import known_mask, velocity_errors
from cosmos_sim.world_model.units import dit_units

SMALL = DiTConfig(model_channels=256, num_heads=4, num_blocks=3, context_in_dim=None)
GIB = 2**30
BAR, SHARE = 0.42, 0.90
"""MFU, and share of the ceiling, that the 2B at 720p is meant to reach on an H200."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--preset", help="a network, or small; the 2B on CUDA, small on a CPU")
    parser.add_argument("--resolution", help="256p, 480p, 720p or HEIGHT,WIDTH; 720p on CUDA, 96,160 on a CPU")
    parser.add_argument("--frames", type=int, help="93 on CUDA, 9 on a CPU")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument(
        "--levels", nargs="+", choices=("none", "selective", "attention", "full"), default=["attention"]
    )
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, help="blocks; on CUDA by default")
    parser.add_argument("--ema", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--rounds", type=int, default=5, help="steps that are timed, after two that are not")
    parser.add_argument("--threads", type=int, help="of the CPU (default: all cores)")
    parser.add_argument("--out", type=Path, help="where to keep the output (default: beside this file)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    on_gpu = device.type == "cuda"
    name = arguments.preset or ("predict2.5-2b" if on_gpu else "small")
    workload = Workload(
        SMALL if name == "small" else preset(name),
        resolution(arguments.resolution or ("720p" if on_gpu else "96,160")),
        arguments.frames or (93 if on_gpu else 9),
        arguments.batch,
        ema=arguments.ema,
    )
    compiled = on_gpu if arguments.compile is None else arguments.compile
    log = Log(arguments.out or Path(__file__).with_name(f"train_step_{device.type}.txt"))
    log(provenance(device))
    log(
        f"# {name}, {workload.batch} x {workload.frames} frames of {workload.size[0]}x{workload.size[1]} "
        f"({workload.tokens} tokens), blocks {'compiled' if compiled else 'eager'}, "
        f"{'with' if workload.ema else 'without'} an average of the weights"
    )
    with attention_kernels():
        peak = peak_flops(torch.cuda.get_device_name(device)) if on_gpu else product_speed(device)
        log(f"# peak {peak / 1e12:.4g} Tflop/s, {'as the maker states it' if on_gpu else 'of a large bf16 product'}")
        parts = ceiling(workload, device, arguments.rounds)
        report_parts(parts, workload, peak, log)
        for level in arguments.levels:
            parallel = ParallelConfig(checkpointing=level, compile=compiled)
            try:
                found = measure(workload, parallel, device, arguments.rounds)
            except torch.OutOfMemoryError as error:
                needs = memory(workload, parallel, 1).peak / GIB
                log(f"\ncheckpointing {level}: out of memory (planned: {needs:.1f} GiB): {str(error).splitlines()[0]}")
                continue
            finally:
                torch.compiler.reset()
                torch.cuda.empty_cache()
            report_step(found, parts, workload, parallel, peak, log)
            report_memory(found, memory(workload, parallel, 1), device, log)


@dataclass(frozen=True)
class Found:
    """One kind of step, measured."""

    seconds: float
    """Of the best round."""
    first: float
    """Seconds of the first step, which compiles."""
    loss: float
    bytes: dict[str, int]
    """Allocated by tensors, by part or moment; empty on a CPU."""


def measure(workload: Workload, parallel: ParallelConfig, device: torch.device, rounds: int) -> Found:
    """Steps of the training loop, on random samples."""
    torch.manual_seed(0)
    config = TrainConfig(lr=3e-5, weight_decay=1e-3, betas=(0.9, 0.999), grad_clip=0.1, ema=0.1, ema_kind="power")
    meter = Meter(device)
    with torch.device("meta"):
        model = DiT(workload.network)
    layout = Layout(parallel, device)
    parallelise(model, dit_units(model), layout, bf16=True, initialise=initialise)
    meter.part("weights, fp32")
    optimizer = make_optimizer(model, config)
    meter.part("AdamW's moments, fp32")
    average = Ema(model, config.ema, config.ema_kind) if workload.ema else None
    if average is not None:
        meter.part("average of the weights, fp32")
    sample = Sample(workload, device)
    parameters = list(model.parameters())
    meter.start()

    def step(number: int) -> Tensor:
        with autocast(device, "bf16"):
            loss = sample.loss(model)
            meter.moment("forward")
        loss.backward()
        meter.moment("end")
        clip_gradients(parameters, config.grad_clip or math.inf)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if average is not None:
            average.update(number)
        return loss.detach()

    seconds = []
    for number in range(rounds + 2):
        began, real = now(device), time.perf_counter()
        loss = step(number)
        seconds.append(now(device) - began)
        if number == 0:
            first = time.perf_counter() - real
    return Found(min(seconds[2:]), first, float(loss), meter.read())


class Sample:
    """Random latents with a first one given, and a text, on the device; the loss of Predict2.5 on them."""

    def __init__(self, workload: Workload, device: torch.device) -> None:
        network, b = workload.network, workload.batch
        shape = (b, network.latent_channels, *workload.latent)
        self.data, self.noise = torch.randn(shape, device=device), torch.randn(shape, device=device)
        self.mask = known_mask(torch.ones(b, dtype=torch.int64, device=device), self.data)
        self.time = torch.linspace(0.3, 0.7, b, device=device)
        self.context = None
        if network.context_dim is not None:
            width = network.context_in_dim or network.context_dim
            self.context = torch.randn(b, TEXT_TOKENS, width, device=device, dtype=torch.bfloat16)

    def loss(self, model: DiT) -> Tensor:
        noisy = torch.where(
            self.mask, self.data, interpolate(self.data, self.noise, self.time[:, None, None, None, None])
        )
        timestep = 1000 * self.time[:, None].expand(-1, self.data.shape[2])
        predicted = model(noisy, timestep, self.mask.to(self.data.dtype), context=self.context)
        return velocity_errors(predicted, self.data, self.noise, self.mask).mean()


class Meter:
    """Bytes of tensors on a GPU, by part and by moment."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.on_gpu = device, device.type == "cuda"
        self.bytes: dict[str, int] = {}
        self.last = self.allocated()

    def allocated(self) -> int:
        return torch.cuda.memory_allocated(self.device) if self.on_gpu else 0

    def part(self, name: str) -> None:
        """Whatever was allocated since the last call is this."""
        held = self.allocated()
        self.bytes[name], self.last = held - self.last, held

    def start(self) -> None:
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)

    def moment(self, name: str) -> None:
        self.bytes[name] = self.allocated()

    def read(self) -> dict[str, int]:
        if not self.on_gpu:
            return {}
        peaks = {
            "tensors, at most": torch.cuda.max_memory_allocated(self.device),
            "reserved, at most": torch.cuda.max_memory_reserved(self.device),
        }
        return self.bytes | peaks


@dataclass(frozen=True)
class Part:
    """One kind of kernel in one block: seconds and operations, forward and backward."""

    forward: float
    backward: float
    operations: float
    """Of the forward pass; the model counts twice as many backward."""

    @property
    def seconds(self) -> float:
        return self.forward + self.backward


@dataclass(frozen=True)
class Parts:
    attention: Part
    """Of self- and cross-attention."""
    products: Part

    @property
    def seconds(self) -> float:
        """Of one block, forward and backward."""
        return self.attention.seconds + self.products.seconds

    def again(self, level: Checkpointing) -> float:
        """Seconds in which a block's kernels run again at a level of checkpointing."""
        return {"attention": self.products.forward, "full": self.products.forward + self.attention.forward}.get(
            level, 0.0
        )


def ceiling(workload: Workload, device: torch.device, rounds: int) -> Parts:
    """The kernels of one block at the shapes of the step, in bf16."""
    config, b, n = workload.network, workload.batch, workload.tokens
    d, hidden, texts = config.model_channels, int(config.model_channels * config.mlp_ratio), workload.text_tokens

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, device=device, dtype=torch.bfloat16)

    attention = Part(0.0, 0.0, 0.0)
    for keys in (n, texts) if texts else (n,):
        q, k, v = (draw(b, config.num_heads, length, config.head_dim).requires_grad_() for length in (n, keys, keys))
        gradient = draw(b, config.num_heads, n, config.head_dim)
        forward = best(lambda: F.scaled_dot_product_attention(q, k, v), device, rounds)  # noqa: B023
        y = F.scaled_dot_product_attention(q, k, v)
        backward = best(lambda: torch.autograd.grad(y, (q, k, v), gradient, retain_graph=True), device, rounds)  # noqa: B023
        attention = Part(
            attention.forward + forward, attention.backward + backward, attention.operations + 4 * b * n * keys * d
        )

    products = Part(0.0, 0.0, 0.0)
    square, cross = [(n, d, d)] * 4, [(n, d, d)] * 2 + [(texts, config.context_dim or 0, d)] * 2
    for rows, inner, outer in [*square, *(cross if texts else []), (n, d, hidden), (n, hidden, d)]:
        x, weight, gradient = draw(b * rows, inner), draw(outer, inner), draw(b * rows, outer)
        forward = best(lambda: x @ weight.T, device, rounds)  # noqa: B023
        backward = best(lambda: (gradient @ weight, gradient.T @ x), device, rounds)  # noqa: B023
        products = Part(
            products.forward + forward,
            products.backward + backward,
            products.operations + 2 * b * rows * inner * outer,
        )
    return Parts(attention, products)


def best(work: Callable[[], object], device: torch.device, rounds: int) -> float:
    """Seconds of the best round, after one that is not counted."""
    seconds = []
    for _ in range(rounds + 1):
        began = now(device)
        work()
        seconds.append(now(device) - began)
    return min(seconds[1:])


def product_speed(device: torch.device) -> float:
    a, b = (torch.randn(*shape, device=device, dtype=torch.bfloat16) for shape in ((1024, 2048), (2048, 2048)))
    return 2 * 1024 * 2048 * 2048 / best(lambda: a @ b, device, 5)


def report_parts(parts: Parts, workload: Workload, peak: float, log: Log) -> None:
    operations: Cost = cost(workload, ParallelConfig())
    log("\none block        forward, ms  backward, ms  of peak forward  of peak backward")
    for name, part, extra in (("attention", parts.attention, 2.5), ("matrix products", parts.products, 2.0)):
        shares = part.operations / part.forward / peak, extra * part.operations / part.backward / peak
        log(f"{name:15s} {1e3 * part.forward:12.2f}  {1e3 * part.backward:12.2f}  {shares[0]:15.1%}  {shares[1]:16.1%}")
    whole = workload.network.num_blocks * parts.seconds
    log(f"ceiling: {whole:.3f} s for {workload.network.num_blocks} blocks, "
        f"MFU {utilisation(operations.model, whole, peak):.1%}")  # fmt: skip


def report_step(
    found: Found, parts: Parts, workload: Workload, parallel: ParallelConfig, peak: float, log: Log
) -> None:
    operations, level = cost(workload, parallel), parallel.checkpointing
    blocks = workload.network.num_blocks
    mfu = utilisation(operations.model, found.seconds, peak)
    bare, again = blocks * parts.seconds, blocks * (parts.seconds + parts.again(level))
    log(f"\ncheckpointing {level}: {found.seconds:.3f} s a step (the first {found.first:.1f} s), "
        f"{workload.batch * workload.tokens / found.seconds:,.0f} tokens/s, MFU {mfu:.2%}, "
        f"{bare / found.seconds:.1%} of the ceiling")  # fmt: skip
    log(f"  {again / found.seconds:.1%} of what its kernels take with those that run again ({again:.3f} s); "
        f"loss {found.loss:.4f}")  # fmt: skip
    if workload == replace(Workload(preset("predict2.5-2b")), ema=workload.ema) and peak == 989e12:
        verdict = "reached" if mfu >= BAR and bare / found.seconds >= SHARE else "missed"
        log(f"  bar {verdict}: MFU of at least {BAR:.0%}, and {SHARE:.0%} of the ceiling")


def report_memory(found: Found, planned: Memory, device: torch.device, log: Log) -> None:
    if not found.bytes:
        log("  memory is measured on CUDA alone")
        return
    parts = {part.name: part for part in planned.parts}
    rows = [(name, parts[name].update) for name in found.bytes if name in parts]
    tensors = [part for part in planned.parts if part not in planned.reserve]
    moments: dict[Moment, str] = {"forward": "forward done", "end": "backward done"}
    log("  memory, GiB                     measured  planned  ratio")
    for name, size in rows:
        log(_row(name, found.bytes[name], size))
    log(_row(moments["forward"], found.bytes["forward"], sum(part.forward for part in tensors)))
    lasting = sum(part.update for part in tensors)
    log(_row(moments["end"], found.bytes["end"], lasting))
    log(_row("tensors, at most", found.bytes["tensors, at most"], planned.tensors))
    total = torch.cuda.get_device_properties(device).total_memory
    free, _ = torch.cuda.mem_get_info(device)
    log(f"  reserved at most {found.bytes['reserved, at most'] / GIB:.2f} of {total / GIB:.1f} GiB, "
        f"{(total - free - torch.cuda.memory_reserved(device)) / GIB:.2f} taken by CUDA and its libraries")  # fmt: skip


def _row(name: str, measured: int, planned: int) -> str:
    return f"  {name:30s}  {measured / GIB:8.2f} {planned / GIB:8.2f} {measured / planned:6.2f}"


if __name__ == "__main__":
    main()
