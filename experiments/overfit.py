"""A tiny set of videos learned by heart: does the loss fall, and do samples give the videos back?

    python experiments/overfit.py                       # three clips that the shipped world imagines, minutes on a CPU
    python experiments/overfit.py --data my/videos --steps 5000 --device cuda

Predict2.5's recipe (its loss, times, given frames, sampler) on a small network over the shipped tokenizer. Each sample
begins from a clip's first frame and from noise that training has not seen. Writes a picture of real frames above
generated ones, and figures beside this file; exits with 1 if a bar is missed. Called again it goes on where it stopped.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from small_predict import Training, samples, strips

from cosmos_sim.data.clips import ClipSet
from cosmos_sim.data.files import new_file
from cosmos_sim.data.sources import open_source
from cosmos_sim.metrics.video import psnr, ssim
from cosmos_sim.training import TrainConfig
from cosmos_sim.training.video import write_mp4
from cosmos_sim.world_model.recipes.stages import Stage
from cosmos_sim.world_model.world import World

FPS = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of videos; by default some that the shipped world imagines")
    parser.add_argument("--work", type=Path, default=Path("runs/overfit"))
    parser.add_argument("--tokenizer", default="lift", help="a shipped world's, a world's folder, or one of its own")
    parser.add_argument("--clips", type=int, default=3)
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--size", type=int, nargs=2, default=(128, 128))
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--fraction", type=float, default=0.05, help="of the first loss that the last may be at most")
    parser.add_argument(
        "--gain", type=float, default=10.0, help="dB that samples must be nearer than the first frame is"
    )
    parser.add_argument("--picture", type=Path, default=Path("docs/media/overfit.webp"))
    parser.add_argument("--out", type=Path, default=Path("experiments/overfit.json"))
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)

    if arguments.data is None:
        arguments.data = arguments.work / "videos"
        imagine(arguments.data, arguments.clips, arguments.frames)
    clips = ClipSet(
        [open_source(arguments.data)],
        frames=arguments.frames,
        fps=None,
        sizes=(tuple(arguments.size),),
        cache=arguments.work / "cache",
        held_out=0.0,
    )
    stage = Stage(
        sizes=(tuple(arguments.size),),
        frames=arguments.frames,
        images=0.0,
        shift=1.0,
        known=(0.0, 1.0),
        batch_size=arguments.batch_size,
    )
    training = Training(
        clips,
        arguments.tokenizer,
        stage,
        arguments.width,
        arguments.blocks,
        arguments.heads,
        cache=arguments.work / "cache" / "latents",
        levels=(0.3, 0.7, 0.95),
        eval_clips=4 * len(clips),
    )
    config = TrainConfig(
        steps=arguments.steps,
        lr=1e-3,
        warmup=min(50, arguments.steps // 10),
        final_lr=0.02,
        ema=0.99,
        log_every=10,
        save_every=250,
        eval_every=arguments.steps,
        device=arguments.device,
        threads=arguments.threads,
    )
    folder = arguments.work / "run"
    export = training.train(folder, config, high_noise=0.05)
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    losses = [row["train/loss"] for row in lines if "train/loss" in row]
    videos = samples(training.trained(export, arguments.device, stage=stage), arguments.device)
    found = figures(losses, videos, arguments)
    print(text(found))
    arguments.picture.parent.mkdir(parents=True, exist_ok=True)
    with new_file(arguments.picture) as partial:
        Image.fromarray(strips(list(videos.values())[:4])).save(partial, format="WEBP", quality=85)
    with new_file(arguments.out) as partial:
        partial.write_text(json.dumps(found, indent=2) + "\n")
    if not found["reached"]:
        sys.exit(1)


def imagine(folder: Path, count: int, frames: int) -> None:
    """Videos of the shipped world, one from each of its first start states, the hand moving another way in each."""
    wanted = [folder / f"clip{k}.mp4" for k in range(count)]
    if all(path.is_file() for path in wanted):
        return
    world = World.from_pretrained("lift", dtype="float32")
    assert world.starts is not None
    camera = next(iter(world.spec.cameras))
    starts = world.starts.select(range(count))
    actions = np.zeros((count, frames - 1, world.spec.action_dim), np.float32)
    for k in range(count):
        actions[k, :, k % 3] = 0.6 * (-1) ** (k // 3)
    state = world.reset(starts.frames, starts.state, seeds=range(count))
    _, imagined = world.step(state, actions)
    for k, path in enumerate(wanted):
        write_mp4(path, np.concatenate([starts.frames[camera][k][None], imagined.frames[camera][k]]), FPS)


def figures(losses: list[float], videos: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """Loss first and last, and how near samples come to the videos, beside keeping the first frame still."""
    rows = []
    for name, (real, generated) in videos.items():
        still = np.repeat(real[:1], len(real), axis=0)
        rows.append(
            {
                "clip": name,
                "psnr": psnr(truth=real[1:], estimate=generated[1:]),
                "ssim": ssim(truth=real[1:], estimate=generated[1:]),
                "psnr_of_the_first_frame": psnr(truth=real[1:], estimate=still[1:]),
            }
        )
    fraction = losses[-1] / losses[0]
    gain = min(row["psnr"] - row["psnr_of_the_first_frame"] for row in rows)
    return {
        "format": "cosmos-sim overfitting 1",
        "training": {key: getattr(arguments, key) for key in ("steps", "batch_size", "width", "blocks", "heads")},
        "loss": {"first": losses[0], "last": losses[-1], "fraction": fraction, "bar": arguments.fraction},
        "gain_db": {"least": gain, "bar": arguments.gain},
        "reached": fraction <= arguments.fraction and gain >= arguments.gain,
        "clips": rows,
        "losses": losses,
    }


def text(found: dict[str, Any]) -> str:
    loss, gain = found["loss"], found["gain_db"]
    lines = [
        f"loss {loss['first']:.3f} -> {loss['last']:.4f}: {loss['fraction']:.1%} (bar: at most {loss['bar']:.0%})",
        f"samples beat the first frame by {gain['least']:.1f} dB at least (bar: {gain['bar']:.1f})",
    ]
    for row in found["clips"]:
        lines.append(
            f"  {row['clip']}: PSNR {row['psnr']:.2f} dB, SSIM {row['ssim']:.3f}; "
            f"the first frame alone {row['psnr_of_the_first_frame']:.2f} dB"
        )
    return "\n".join([*lines, "bar reached" if found["reached"] else "bar missed"])


if __name__ == "__main__":
    main()
