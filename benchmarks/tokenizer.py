"""Seconds and peak memory of encoding and decoding a video: this package's windows and tiles beside diffusers' own.

    python benchmarks/tokenizer.py                                            # a small video on this machine
    python benchmarks/tokenizer.py --size 704 1280 --frames 93 --device cuda --dtype bfloat16

Random weights of the released sizes, the same in every row. Each row runs in its own process, so that its peak is its
own: reserved memory on a GPU, otherwise resident memory beyond what the process took before it began.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from einops import rearrange
from provenance import provenance
from torch import Tensor

from cosmos_sim.world_model.tiles import Tiling
from cosmos_sim.world_model.tokenizer import to_frames, to_model
from cosmos_sim.world_model.wan import WanConfig, WanTokenizer

ROWS = ("window 1", "window 4", "tiles", "diffusers", "diffusers' tiles")


def coders(
    row: str, tokenizer: WanTokenizer, tile: int
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Frames to latents and latents to frames, as the row has it."""
    if not row.startswith("diffusers"):
        tokenizer.window = 4 if row == "window 4" else 1
        tokenizer.tiling = Tiling(tile, tile // 6) if row == "tiles" else None
        return tokenizer.encode, tokenizer.decode
    if row == "diffusers' tiles":
        tokenizer.vae.enable_tiling(tile, tile, tile - tile // 6, tile - tile // 6)

    def encode(frames: Tensor) -> Tensor:
        pixels = rearrange(to_model(frames.to(tokenizer.vae.device)), "t c 1 h w -> 1 c t h w").to(tokenizer.dtype)
        return tokenizer.normalise(tokenizer.vae.encode(pixels).latent_dist.mode())

    def decode(latent: Tensor) -> Tensor:
        return to_frames(tokenizer.vae.decode(tokenizer.restore(latent)).sample)

    return encode, decode


@torch.no_grad()
def measure(row: str, arguments: argparse.Namespace) -> str:
    """Seconds to encode and to decode, and the peak in GiB, as one line."""
    device = torch.device(arguments.device)
    torch.manual_seed(0)
    tokenizer = WanTokenizer(WanConfig(width=arguments.width)).to(device).cast(getattr(torch, arguments.dtype))
    encode, decode = coders(row, tokenizer, arguments.tile)
    frames = torch.randint(0, 256, (1, arguments.frames, *arguments.size, 3), dtype=torch.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def timed(work: Callable[[Tensor], Tensor], given: Tensor) -> tuple[float, Tensor]:
        if device.type == "cuda":
            work(given)
            torch.cuda.synchronize()
        start = time.perf_counter()
        out = work(given)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start, out

    encoding, latent = timed(encode, frames)
    decoding, video = timed(decode, latent)
    assert video.shape == frames.shape
    if device.type == "cuda":
        peak = torch.cuda.max_memory_reserved() / 2**30
    else:
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    return f"{row:18} {encoding:10.2f} {decoding:10.2f} {peak:12.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(96, 160), help="height and width in pixels")
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--width", type=int, default=96, help="base width of the network")
    parser.add_argument("--tile", type=int, default=384)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--row", choices=ROWS, help="this row alone, in this process")
    arguments = parser.parse_args()
    if arguments.row:
        print(measure(arguments.row, arguments))
        return
    height, width = arguments.size
    print(provenance(torch.device(arguments.device)))
    print(f"# {arguments.frames} frames of {height}x{width}, base width {arguments.width}, {arguments.dtype}")
    print(f"{'':18} {'encode s':>10} {'decode s':>10} {'peak GiB':>12}", flush=True)
    for row in ROWS:
        subprocess.run([sys.executable, *sys.argv, "--row", row], check=True)


if __name__ == "__main__":
    main()
