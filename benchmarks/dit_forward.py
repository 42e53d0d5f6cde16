"""One forward pass of the transformer against diffusers' CosmosTransformer3DModel: the same weights, the same run.

    python benchmarks/dit_forward.py                    # CPU: small networks, fp32 and bf16
    python benchmarks/dit_forward.py --device cuda      # the 2B at 13x256x320 and at 93x704x1280, random weights

Both are called as a sampler calls them, with a time for each frame. Rounds of all sides alternate, the best of each
counts. On a CPU, seconds are those the process computed, so that other processes matter less; run it with one thread.
"MFU" is the share of the device's stated speed, on a CPU of what a large matrix product reaches in the same run.
"""

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from diffusers import CosmosTransformer3DModel
from torch import Tensor
from torch.nn.attention import SDPBackend

import cosmos_sim
from cosmos_sim.training.speed import peak_flops
from cosmos_sim.world_model.attention import attention_kernels
from cosmos_sim.world_model.attention_products import pays_in_products
from cosmos_sim.world_model.checkpoints.names import diffusers_module
from cosmos_sim.world_model.dit import DiT, DiTConfig, preset
from cosmos_sim.world_model.execution import CudaGraphs
from cosmos_sim.world_model.first_block import FirstBlockCache
from cosmos_sim.world_model.flops import forward_flops

TEXT = 512


@dataclass(frozen=True)
class Case:
    config: DiTConfig
    size: tuple[int, int, int]
    """Latent frames, rows and columns."""
    dtype: torch.dtype


def small(width: int, heads: int, blocks: int) -> DiTConfig:
    return DiTConfig(model_channels=width, num_heads=heads, num_blocks=blocks, context_in_dim=None)


def cases(device: torch.device) -> list[Case]:
    if device.type == "cuda":
        config = replace(preset("predict2.5-2b"), context_in_dim=None)
        return [Case(config, size, torch.bfloat16) for size in ((4, 32, 40), (24, 88, 160))]
    networks = (small(256, 4, 4), small(512, 8, 2), small(1024, 8, 2))
    return [Case(network, (5, 32, 48), dtype) for network in networks for dtype in (torch.float32, torch.bfloat16)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--thresholds", type=float, nargs="*", default=[0.05, 0.1], help="of first-block caching")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.set_num_threads(arguments.threads)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {arguments.threads} thread(s)"
    print(f"cosmos-sim {cosmos_sim.__version__}, torch {torch.__version__}, {name}")
    with torch.inference_mode():
        for number, case in enumerate(cases(device)):
            compare(case, device, arguments.rounds, arguments.thresholds if number == 0 else [])


def compare(case: Case, device: torch.device, rounds: int, thresholds: list[float]) -> None:
    config, dtype = case.config, case.dtype
    tokens = case.size[0] * case.size[1] * case.size[2] // 4
    print(f"\n{config.model_channels} wide, {config.num_blocks} blocks, {tokens} tokens, {dtype}, text {TEXT}")
    own, theirs = networks(case, device)
    latent, context = torch.randn(1, 16, *case.size, device=device), torch.randn(1, TEXT, 1024, device=device)
    mask = torch.zeros_like(latent[:, :1])
    mask[:, :, 0] = 1
    times = torch.full((1, case.size[0]), 500.0, device=device)
    times[:, 0] = 0.1

    def reference(time: Tensor) -> Tensor:
        given = (x.to(dtype) for x in (latent, time, context, mask, torch.zeros_like(mask[:, :, 0])))
        names = ("hidden_states", "timestep", "encoder_hidden_states", "condition_mask", "padding_mask")
        return theirs(**dict(zip(names, given, strict=True)), return_dict=False)[0]

    read = own.encode_context(context.to(dtype))
    sides: dict[str, Callable[[], Tensor]] = {
        "diffusers": lambda: reference(times[:, None, :, None, None] * 1e-3),
        "diffusers, one time for all": lambda: reference(times[:, -1] * 1e-3),
        "cosmos-sim": lambda: own(latent, times, mask, context=context),
        "cosmos-sim, text read before": lambda: own(latent, times, mask, context=read),
    }
    if device.type == "cuda":
        graphs = CudaGraphs(lambda *given: (own(*given, context=read),))
        sides["cosmos-sim, as a CUDA graph"] = lambda: graphs(latent, times, mask)[0]
    seconds, kernels = measure(sides, device, rounds), attention_of(case, device)
    report(case, seconds, kernels, speed_of(device, dtype))
    difference = sides["cosmos-sim"]().float() - sides["diffusers"]().float()
    print(f"  largest difference: {difference.abs().max() / sides['diffusers']().abs().max():.1e} of the output")
    for threshold in thresholds:
        cached(own, latent, mask, context, threshold, device)
    if device.type == "cuda":
        print(f"  peak memory: {torch.cuda.max_memory_reserved(device) / 2**30:.1f} GiB reserved")
        own.compile_blocks()
        for block in theirs.transformer_blocks:
            block.compile()
        compiled = {f"{name}, compiled": side for name, side in sides.items() if "graph" not in name}
        report(case, measure(compiled, device, rounds), kernels, speed_of(device, dtype))


def networks(case: Case, device: torch.device) -> tuple[DiT, CosmosTransformer3DModel]:
    """Both with the same random weights: ours in the dtypes of the original, theirs all in one."""
    config = case.config
    with torch.device("meta"):
        own = DiT(config)
        theirs = CosmosTransformer3DModel(
            in_channels=config.latent_channels + 1,
            out_channels=config.latent_channels,
            num_attention_heads=config.num_heads,
            attention_head_dim=config.head_dim,
            num_layers=config.num_blocks,
            text_embed_dim=1024,
            adaln_lora_dim=config.adaln_lora_dim,
            rope_scale=config.rope_ratio,
            extra_pos_embed_type=None,
        )
    own = own.to_empty(device=device).eval().requires_grad_(False)
    own.reset_parameters()
    own.cast(case.dtype)
    weights = {}
    for name, tensor in own.state_dict().items():
        module, _, leaf = name.rpartition(".")
        weights[f"{diffusers_module(module)}.{leaf}"] = tensor.to(case.dtype)
    theirs.load_state_dict(weights, assign=True)
    return own.fuse(), theirs.eval().requires_grad_(False)


def measure(sides: dict[str, Callable[[], Tensor]], device: torch.device, rounds: int) -> dict[str, float]:
    """Seconds of the best round of each, after one that is not counted."""
    best = dict.fromkeys(sides, float("inf"))
    for counted in [False] + [True] * rounds:
        for name, side in sides.items():
            passed = seconds_of(side, device, ours=name.startswith("cosmos-sim"))
            if counted:
                best[name] = min(best[name], passed)
    return best


def seconds_of(side: Callable[[], object], device: torch.device, *, ours: bool) -> float:
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    with attention_kernels() if ours and device.type == "cuda" else nullcontext():
        _finish(device)
        began = clock()
        side()
        _finish(device)
        return clock() - began


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def report(case: Case, seconds: dict[str, float], kernels: dict[str, str], speed: float) -> None:
    reference = next(iter(seconds.values()))
    for name, passed in seconds.items():
        read = "read before" in name or "graph" in name
        flops = forward_flops(case.config, case.size, text_tokens=TEXT, cached_text=read)
        kernel = kernels["cosmos-sim" if name.startswith("cosmos-sim") else "diffusers"]
        share = flops / passed / speed
        print(f"  {name:40s} {passed * 1e3:9.2f} ms  ratio {reference / passed:5.2f}  MFU {share:6.1%}  {kernel}")


def attention_of(case: Case, device: torch.device) -> dict[str, str]:
    """The kernel that each side's self-attention runs on."""
    tokens = case.size[0] * case.size[1] * case.size[2] // 4
    shape = (1, case.config.num_heads, tokens, case.config.head_dim)
    q = torch.empty(shape, device=device, dtype=case.dtype)
    chosen = {}
    for name, context in (("diffusers", nullcontext()), ("cosmos-sim", attention_kernels())):
        with context:
            chosen[name] = SDPBackend(torch._fused_sdp_choice(q, q, q)).name.lower()
    if pays_in_products(q, q):
        chosen["cosmos-sim"] = "two products (bf16 on a CPU)"
    return chosen


def speed_of(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second: stated by the maker, or measured on this CPU."""
    if device.type == "cuda":
        return peak_flops(torch.cuda.get_device_name(device))
    a, b = torch.randn(1024, 2048, dtype=dtype), torch.randn(2048, 2048, dtype=dtype)
    return 2 * 1024 * 2048 * 2048 / min(seconds_of(lambda: a @ b, device, ours=False) for _ in range(5))


def cached(own: DiT, latent: Tensor, mask: Tensor, context: Tensor, threshold: float, device: torch.device) -> None:
    """Twelve Euler steps with first-block caching against the same steps without."""
    levels = torch.linspace(1, 0, 13).tolist()
    found, seconds = [], []
    cache = FirstBlockCache(threshold)
    for used in (None, cache):
        x = latent

        def sample(used: FirstBlockCache | None = used) -> Tensor:
            nonlocal x
            for level, after in pairwise(levels):
                times = torch.full((1, x.shape[2]), 1000 * level, device=device)
                x = x + (after - level) * own(x, times, mask, context=context, first_block_cache=used)
            return x

        seconds.append(seconds_of(sample, device, ours=True))
        found.append(x)
    error = (found[1] - found[0]).norm() / found[0].norm()
    print(
        f"  first-block caching at {threshold}: {cache.reused} of {cache.evaluations} evaluations reused, "
        f"{seconds[0] / seconds[1]:.2f} times as fast, error {error:.2%} of the latents"
    )


if __name__ == "__main__":
    main()
