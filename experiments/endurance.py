"""Does a world hold together? Ten thousand steps without a reset, and what is left of the scene.

A wandering hand (cosmos_sim/evaluation/wander.py) acts on the proprioception that the world predicts, through
`CosmosWorld-v0` as a user steps it. Written are a strip of frames and the figures: whether all numbers stayed finite,
whether memory stayed flat, and whether the frames still look like the scene - how near the nearest real frame is (PSNR
at 32x32 pixels), and, with a pose reader, how far the hand in the frames is from where the world says it is.

    python experiments/endurance.py --world lift --data lift --reader reader/export
"""

import argparse
import itertools
import json
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import cv2
import gymnasium
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

import cosmos_sim  # noqa: F401, registers the environments
from cosmos_sim.data.files import new_file
from cosmos_sim.data.lerobot import dataset_info, read_episodes
from cosmos_sim.data.split import held_out
from cosmos_sim.evaluation.pose_reader import PoseReader
from cosmos_sim.evaluation.wander import Wanderer

SIDE = 32
SCALE, GAP, CAPTION = 2, 6, 22


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="lift", help="a shipped world's name, a folder or a hub id")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--sample", type=int, default=20, help="every so many steps the frames are measured")
    parser.add_argument("--reach", type=float, default=0.15, help="metres that the hand wanders off its start")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help="a dataset of real frames to find the nearest in")
    parser.add_argument("--reader", help="a pose reader for these cameras")
    parser.add_argument("--picture", type=Path, default=Path("docs/media/endurance.webp"))
    parser.add_argument("--out", type=Path, default=Path("experiments/endurance.json"))
    arguments = parser.parse_args()
    if arguments.steps < 100 or not 1 <= arguments.sample <= arguments.steps // 10:
        parser.error(f"need 100 steps and a tenth of them for --sample, got {arguments.steps}, {arguments.sample}")

    run = endure(arguments.world, arguments.steps, arguments.sample, seed=arguments.seed, reach=arguments.reach)
    found = {
        "format": "cosmos-sim endurance 1",
        "world": arguments.world,
        "steps": arguments.steps,
        "seed": arguments.seed,
        **run.figures,
    }
    spans = decades(arguments.steps)
    if arguments.data is not None:
        found["nearest_real_psnr"] = nearest(run, arguments.data, spans)
    if arguments.reader is not None:
        reader = PoseReader.from_pretrained(arguments.reader)
        read = reader.read(run.frames)
        apart = 1000 * np.linalg.norm(read - run.state[:, : read.shape[1]], axis=-1)
        found["reader"] = reader.figures
        found["read_from_predicted_mm"] = {name: median(apart[within(run.at, span)]) for name, span in spans.items()}
    strip(run.kept, arguments.picture)
    with new_file(arguments.out) as partial:
        partial.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
    print(json.dumps(found, indent=1))
    print(f"written: {arguments.out}, {arguments.picture}")


class Run:
    """What an endurance run left: figures, sampled frames and states, and the few frames that are shown."""

    def __init__(self, cameras: Mapping[str, tuple[int, int]], state_dim: int, at: ndarray) -> None:
        # Filled before the first step, so that memory that grows during the run is the world's.
        self.at = at
        self.frames = {camera: np.full((len(at), *size, 3), 1, np.uint8) for camera, size in cameras.items()}
        self.state = np.full((len(at), state_dim), 1, np.float32)
        self.kept: dict[int, dict[str, ndarray]] = {}
        self.figures: dict[str, object] = {}


def endure(name: str, steps: int, sample: int, *, seed: int, reach: float) -> Run:
    """Step the world ``steps`` times without a reset.

    Raises:
        FloatingPointError: at the first number that is not finite, naming the step.
    """
    env = gymnasium.make("CosmosWorld-v0", world=name, horizon=steps + 1, success_frames=10**9).unwrapped
    spec = env.world.spec
    policy = Wanderer(spec.action_dim, reach=reach)
    policy.reset([seed])
    observation, info = env.reset(seed=seed)
    run = Run(spec.cameras, spec.state_dim, np.arange(sample, steps + 1, sample))
    shown = {0, *(10**k for k in range(1, 9)), steps}
    run.kept[0] = observation["pixels"]
    low, high = np.full(spec.state_dim, np.inf), np.full(spec.state_dim, -np.inf)
    memory, early, began = {}, max(1, steps // 10), time.perf_counter()
    for step in tqdm(range(1, steps + 1), unit="step", mininterval=5):
        action = policy.act({"agent_pos": observation["agent_pos"][None]}, {})[0, 0]
        observation, _, _, _, info = env.step(np.clip(action, env.action_space.low, env.action_space.high))
        state = observation["agent_pos"]
        if not np.isfinite(state).all() or not np.isfinite(info["success_probability"]):
            raise FloatingPointError(f"step {step}: state {state}, success {info['success_probability']}")
        low, high = np.minimum(low, state), np.maximum(high, state)
        if step % sample == 0:
            row = step // sample - 1
            run.state[row] = state
            for camera, image in observation["pixels"].items():
                run.frames[camera][row] = image
        if step in shown:
            run.kept[step] = observation["pixels"]
        if step in (early, steps):
            memory[step] = peak_memory()
    run.figures = {
        "finite": True,
        "steps_per_second": round(steps / (time.perf_counter() - began), 2),
        "peak_memory_mb": memory,
        "memory_growth_mb": memory[steps] - memory[early],
        "state_low": low.tolist(),
        "state_high": high.tolist(),
        "left_the_state_space": bool(((low <= spec.state_low) | (high >= spec.state_high)).any()),
    }
    env.close()
    return run


def peak_memory() -> int:
    """The most memory that this process has held so far, in MB: it never falls, so that no growth can hide."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 2**20 if sys.platform == "darwin" else peak / 2**10)


def decades(steps: int) -> dict[str, tuple[int, int]]:
    """Spans of the run, each ten times as long as the one before: ``1-100``, ``101-1000``, ..."""
    edges = [0, *(10**k for k in range(2, 9) if 10**k < steps), steps]
    return {f"{low + 1}-{high}": (low, high) for low, high in itertools.pairwise(edges)}


def within(at: ndarray, span: tuple[int, int]) -> ndarray:
    return (at > span[0]) & (at <= span[1])


def median(values: ndarray) -> float:
    return round(float(np.median(values)), 2)


def nearest(run: Run, data: Path, spans: Mapping[str, tuple[int, int]]) -> dict[str, float]:
    """Median PSNR of the sampled frames to the nearest of ``data``, by span; and of real frames that are held out."""
    cameras, count = tuple(run.frames), dataset_info(data).episodes
    apart = set(held_out(count))
    pool, own = [], []
    for index, episode in enumerate(tqdm(read_episodes(data, cameras=cameras), "real frames", count, unit="episode")):
        (own if index in apart else pool).append(small(episode.frames))
    real, held = np.concatenate(pool), np.concatenate(own)[:: max(1, sum(map(len, own)) // 500)]
    psnr = nearest_psnr(small(run.frames), real)
    found = {name: median(psnr[within(run.at, span)]) for name, span in spans.items()}
    return {**found, "real frames of held-out episodes": median(nearest_psnr(held, real))}


def small(frames: Mapping[str, UInt8[ndarray, "n h w c"]]) -> Float[ndarray, "n d"]:
    """Every moment as one vector: all cameras at 32x32 pixels."""
    parts = [
        np.stack([cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for image in images])
        for images in frames.values()
    ]
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1).astype(np.float32)


def nearest_psnr(frames: Float[ndarray, "n d"], real: Float[ndarray, "m d"]) -> Float[ndarray, "n"]:
    """PSNR of each frame to the one of ``real`` that is nearest in mean squared error."""
    least = np.full(len(frames), np.inf)
    for first in range(0, len(real), 2048):
        part = real[first : first + 2048]
        squared = (frames**2).sum(1)[:, None] + (part**2).sum(1) - 2 * frames @ part.T
        least = np.minimum(least, squared.min(1) / frames.shape[1])
    return 10 * np.log10(255**2 / np.maximum(least, 1e-3))


def strip(kept: Mapping[int, Mapping[str, UInt8[ndarray, "h w c"]]], path: Path) -> None:
    """The frames of a few steps beside each other, a row a camera."""
    font = ImageFont.load_default(size=14)
    columns = []
    for step, frames in kept.items():
        tiles = [Image.fromarray(image) for image in frames.values()]
        tiles = [tile.resize((tile.width * SCALE, tile.height * SCALE), Image.Resampling.BICUBIC) for tile in tiles]
        size = max(t.width for t in tiles), CAPTION + sum(t.height for t in tiles) + GAP * (len(tiles) - 1)
        column = Image.new("RGB", size, "white")
        ImageDraw.Draw(column).text((4, 3), "start" if step == 0 else f"step {step:,}", fill="black", font=font)
        top = CAPTION
        for tile in tiles:
            column.paste(tile, (0, top))
            top += tile.height + GAP
        columns.append(column)
    width = sum(column.width for column in columns) + GAP * (len(columns) - 1)
    canvas = Image.new("RGB", (width, max(column.height for column in columns)), "white")
    left = 0
    for column in columns:
        canvas.paste(column, (left, 0))
        left += column.width + GAP
    with new_file(path) as partial:
        canvas.save(partial, format="WEBP", quality=80)


if __name__ == "__main__":
    main()
