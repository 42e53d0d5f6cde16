"""A film of an augmented dataset: demonstrations on the left, the variants that passed their checks beside each.

python experiments/variants.py --data real2real/augmented --episodes 0 7 21 --out docs/media/augment.webp
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from animation import save
from jaxtyping import UInt8
from numpy import ndarray

from cosmos_sim.data.lerobot import read_episodes

GAP = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="what cosmos-sim augment wrote")
    parser.add_argument("--episodes", type=int, nargs="+", help="of the source (default: those with most variants)")
    parser.add_argument("--rows", type=int, default=3, help="so many of them, if they are not named")
    parser.add_argument("--columns", type=int, default=3, help="variants beside each")
    parser.add_argument("--out", type=Path, default=Path("docs/media/augment.webp"))
    arguments = parser.parse_args()
    made = variants(arguments.data)
    episodes = arguments.episodes or sorted(made, key=lambda source: -len(made[source]))[: arguments.rows]
    rows = [row(arguments.data, made[source][: 1 + arguments.columns]) for source in episodes]
    width, length = max(video.shape[2] for video in rows), min(len(video) for video in rows)
    wide = [np.pad(v[:length], ((0, 0), (0, 0), (0, width - v.shape[2]), (0, 0)), constant_values=255) for v in rows]
    save(arguments.out, np.concatenate(wide, axis=1))


def variants(data: Path) -> dict[int, list[int]]:
    """Of every source, its own episode in the dataset and then those of its variants."""
    found: dict[int, list[int]] = defaultdict(list)
    for line in (data / "meta" / "augmentation.jsonl").read_text().splitlines():
        told = json.loads(line)
        found[told["source_episode"]].append(told["episode"])
    return found


def row(data: Path, episodes: list[int]) -> UInt8[ndarray, "t h w 3"]:
    """All cameras of all these episodes next to each other, with white between the episodes."""
    shown = [np.concatenate(list(episode.frames.values()), axis=2) for episode in read_episodes(data, episodes)]
    white = ((0, 0), (GAP, 0), (0, GAP), (0, 0))
    return np.concatenate([np.pad(video, white, constant_values=255) for video in shown], axis=2)


if __name__ == "__main__":
    main()
