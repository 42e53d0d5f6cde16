"""A film of dreams: above what was imagined, below what the simulator shows under the actions read off it.

python experiments/dreams_film.py --data runs/dreamgen/dreams --out docs/media/dreams.webp
"""

import argparse
from pathlib import Path

import numpy as np
from animation import save
from jaxtyping import UInt8
from numpy import ndarray
from variants import GAP

from cosmos_sim.data.dreams import DreamRecord, read_dreams
from cosmos_sim.data.lerobot import dataset_info, read_episodes
from cosmos_sim.envs.twin.env import CosmosTwin
from cosmos_sim.types import Episode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="what cosmos-sim dream --twin wrote")
    parser.add_argument("--episodes", type=int, nargs="+", help="of it (default: the first ones)")
    parser.add_argument("--columns", type=int, default=5, help="so many of them, if they are not named")
    parser.add_argument("--out", type=Path, default=Path("docs/media/dreams.webp"))
    arguments = parser.parse_args()
    episodes = arguments.episodes or list(range(arguments.columns))
    told = read_dreams(arguments.data, episodes=dataset_info(arguments.data).episodes)
    shown = [
        column(told[index], episode)
        for index, episode in zip(episodes, read_episodes(arguments.data, episodes), strict=True)
    ]
    save(arguments.out, np.concatenate(shown, axis=2))


def column(told: DreamRecord, episode: Episode) -> UInt8[ndarray, "t h w 3"]:
    """All cameras of a dream next to each other, and below them the simulator's under the same actions."""
    start = told.start
    assert start.task is not None
    twin = CosmosTwin(start.task, horizon=len(episode), split=start.split, terminate_on_success=False)
    options = {"instruction": episode.task} if start.split else None
    seen = [twin.reset(seed=start.seed, options=options)[0], *(twin.step(action)[0] for action in episode.action[:-1])]
    twin.close()
    real = {camera: np.stack([observation["pixels"][camera] for observation in seen]) for camera in episode.frames}
    both = [np.concatenate(list(videos.values()), axis=2) for videos in (episode.frames, real)]
    white = ((0, 0), (GAP, 0), (0, GAP), (0, 0))
    return np.concatenate([np.pad(video, white, constant_values=255) for video in both], axis=1)


if __name__ == "__main__":
    main()
