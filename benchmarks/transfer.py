"""Frames a second that a Transfer world makes, by the number of its controls, and where the time goes.

    python benchmarks/transfer.py                                       # the small world, on whatever device there is
    python benchmarks/transfer.py --network predict2.5-2b --device cuda --compiled     # the 2B, random weights

The 2B makes 93 frames of 704x1280 at once, as NVIDIA's published times are for: 374.4 s for Transfer2.5-2B with edges
on one H200 NVL, 502.6 s on one H100 NVL, 179.7 s on one B200 (its documents name no share of the text encoder in them;
none is in ours: the prompt is read beforehand). The small world is the shipped one, or one of random weights of the
sizes of ``train predict --network small``: weights change no time.

Rows take turns, so that a machine that slows down slows all; a row's figure is its fastest round. Encoding is of the
controls and of the frame that a chunk begins from; the rest of a row's time is the network's. With ``--threads 1`` on a
CPU the clock counts this process alone, so that other programs do not matter. Prints its table and keeps it beside this
file.
"""

import argparse
import resource
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from clock import now
from jaxtyping import UInt8
from log import Log
from numpy import ndarray
from provenance import provenance
from torch import Tensor, nn

from cosmos_sim.data.pretrained import shipped
from cosmos_sim.training.device import select_device, select_dtype
from cosmos_sim.world_model.control import KINDS, ControlBranch, ControlConfig, ControlledDiT
from cosmos_sim.world_model.denoise import SAMPLING
from cosmos_sim.world_model.dit import DiT, DiTConfig, preset
from cosmos_sim.world_model.flops import branch_flops, forward_flops
from cosmos_sim.world_model.load_transfer import load_transfer
from cosmos_sim.world_model.tokenizer import Tokenizer, TokenizerConfig
from cosmos_sim.world_model.transfer import ControlVideo, Transfer, TransferConfig
from cosmos_sim.world_model.wan import WanConfig, WanTokenizer

SMALL = DiTConfig(model_channels=256, num_heads=4, num_blocks=6, adaln_lora_dim=64, context_dim=256, context_in_dim=320)
PUBLISHED = 374.4
"""Seconds of one chunk on an H200 NVL, edge."""


@dataclass
class Noise:
    """A text of random numbers, as long as the network's texts are."""

    length: int
    width: int
    dtype: torch.dtype
    cache = None

    def encode(self, prompts: Sequence[str | None]) -> Tensor:
        return torch.randn(len(prompts), self.length, self.width).to(self.dtype)

    def prepare(self, prompts: Sequence[str | None]) -> int:
        return 0


def world(arguments: argparse.Namespace) -> tuple[Transfer, str]:
    """The world to measure, and what it is."""
    device = select_device(arguments.device)
    dtype = select_dtype(arguments.dtype, device)
    found = arguments.model or ("transfer" if "transfer" in shipped("transfer") else None)
    if arguments.network == "small" and found is not None:
        return load_transfer(found, device=device, dtype=dtype, compiled=arguments.compiled), str(found)
    large = arguments.network != "small"
    config = TransferConfig(
        preset(arguments.network) if large else SMALL,
        replace(SAMPLING["transfer2.5-2b"], **({} if large else {"steps": 10})),
        temporal=4 if large else 1,
        chunk=93 if large else 9,
        size=(704, 1280) if large else (128, 256),
    )

    def network() -> ControlledDiT:
        with torch.device("meta"):
            made = DiT(config.dit)
            branch = ControlConfig() if large else ControlConfig.beside(config.dit)
            branches = {kind: ControlBranch(config.dit, branch) for kind in KINDS[: arguments.branches]}
        for part in (made, *branches.values()):
            part.cast(dtype).to_empty(device=device)
            for parameter in part.parameters():
                nn.init.normal_(parameter, std=0.02)
        joined = ControlledDiT(made, branches).fuse()
        return joined.compile_blocks() if arguments.compiled else joined

    def tokenizer() -> nn.Module:
        return WanTokenizer(WanConfig()).cast(dtype) if large else Tokenizer(TokenizerConfig()).cast(dtype)

    text = Noise(512 if large else 64, config.dit.context_in_dim or 0, dtype)
    made = Transfer(config, dit=network, tokenizer=tokenizer, text=text, device=device)
    return made, f"{arguments.network}, random weights"


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """The options of a benchmark of :func:`world`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=("small", "predict2.5-2b"), default="small")
    parser.add_argument("--model", help="a packed world in place of the shipped one")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, help="of the CPU (default: all cores)")
    parser.add_argument("--steps", type=int, help="of sampling (default: the world's)")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--out", type=Path, help="where to keep the output (default: beside this file)")
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """What the command line says; the threads are set."""
    arguments = parser.parse_args()
    if arguments.model and arguments.network != "small":
        parser.error(f"--network {arguments.network} would be ignored: --model says what is measured")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    return arguments


def timed(
    parts: dict[str, float], name: str, work: Callable[..., Tensor], device: torch.device
) -> Callable[..., Tensor]:
    """``work`` with its seconds added to ``parts[name]``."""

    def measured(*given: Tensor) -> Tensor:
        start = now(device)
        out = work(*given)
        parts[name] = parts.get(name, 0.0) + now(device) - start
        return out

    return measured


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument(
        "--branches", type=int, default=4, choices=range(1, 5), help="of random weights: 4, or 1 for memory"
    )
    parser.add_argument("--chunks", type=int, default=1, help="to make in a row")
    arguments = parsed(parser)
    transfer, what = world(arguments)
    config, device = transfer.config, transfer.device
    log = Log(arguments.out or Path(__file__).with_name(f"transfer_{arguments.network}_{device.type}.txt"))
    network = cast(ControlledDiT, transfer.parts.use("dit"))
    kinds = tuple(network.branches.keys())
    frames = 1 + arguments.chunks * (config.chunk - 1)
    sampling = config.sampling if arguments.steps is None else replace(config.sampling, steps=arguments.steps)
    passes = sampling.evaluations * (2 if sampling.guidance else 1)
    size = (1 + (config.chunk - 1) // config.temporal, *(side // config.spatial for side in config.size))
    words = transfer.embed((None,))[0]
    given = {"text_tokens": 0 if words is None else words.shape[1], "cached_text": True}
    forward = forward_flops(config.dit, size, **given)
    branches = cast(Iterable[ControlBranch], network.branches.values())
    beside = {
        kind: branch_flops(config.dit, one.config, size, **given) for kind, one in zip(kinds, branches, strict=True)
    }
    log(provenance(device))
    log(f"# {what}, {frames} frames of {config.size[0]}x{config.size[1]} in {arguments.chunks} chunk(s)")
    log(f"# {passes} passes a chunk, {'compiled' if arguments.compiled else 'eager'}, {arguments.rounds} rounds")
    log(f"{'':18}{'seconds':>9}{'encode':>9}{'network':>9}{'decode':>9}{'frames/s':>10}{'TFLOP/s':>9}")
    video = np.random.default_rng(0).integers(0, 256, (frames, *config.size, 3), np.uint8)
    rows = {"no control": (), kinds[0]: kinds[:1], **({f"all {len(kinds)}": kinds} if len(kinds) > 1 else {})}
    best: dict[str, tuple[float, dict[str, float]]] = {}
    coder = transfer.tokenizer
    encode, decode = coder.encode, coder.decode
    for number in range(arguments.rounds + 1):
        for name, active in rows.items():
            parts: dict[str, float] = {}
            coder.encode, coder.decode = (  # type: ignore[method-assign]
                timed(parts, "encode", encode, device),
                timed(parts, "decode", decode, device),
            )
            seconds = once(transfer, video, active, kinds, arguments.steps, parts)
            if number and (name not in best or seconds < best[name][0]):  # the first round warms up
                best[name] = seconds, parts
    for name, (seconds, parts) in best.items():
        rest = seconds - sum(parts.values())
        work = arguments.chunks * passes * (forward + sum(beside[kind] for kind in rows[name])) / 1e12
        shares = (seconds, parts.get("encode", 0.0), rest, parts["decode"])
        told = "".join(f"{share:9.2f}" for share in shares)
        log(f"{name:18}{told}{frames / seconds:10.3f}{work / rest:9.3f}")
    if config.temporal > 1:
        log(f"NVIDIA's published time of such a chunk, edge, base model: {PUBLISHED} s on an H200 NVL")
    if device.type == "cuda":
        log(f"peak memory: {torch.cuda.max_memory_reserved(device) / 2**30:.1f} GiB reserved")
    else:
        log(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


def once(
    transfer: Transfer,
    video: UInt8[ndarray, "t h w 3"],
    active: Sequence[str],
    kinds: Sequence[str],
    steps: int | None,
    parts: dict[str, float],
) -> float:
    """Seconds to make the video once; without a control, with one of no weight."""
    controls = {kind: ControlVideo(video) for kind in active} or {kinds[0]: ControlVideo(video, 0.0)}
    start = now(transfer.device)
    for _ in transfer.translate(controls, prompt="a robot", seed=0, steps=steps):
        pass
    return now(transfer.device) - start


if __name__ == "__main__":
    main()
