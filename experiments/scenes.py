"""A picture of the simulator's scenes: the ten named ones above, ten drawn at random for training below.

python experiments/scenes.py --out docs/media/scenes.webp
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from cosmos_sim.data.files import new_file
from cosmos_sim.envs.twin.env import CosmosTwin
from cosmos_sim.envs.twin.random_scenes import random_scene
from cosmos_sim.envs.twin.scene import Scene
from cosmos_sim.envs.twin.scenes import SCENES

COLUMNS, GAP, QUALITY = 5, 3, 90
NAMED_SEED, RANDOM_SEED = 3, 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/media/scenes.webp"))
    out = parser.parse_args().out
    twin = CosmosTwin("Lift", scene="base")
    shots = [shot(twin, scene, NAMED_SEED) for scene in SCENES.values()]
    for seed in range(RANDOM_SEED, RANDOM_SEED + 2 * COLUMNS):
        shots.append(shot(twin, random_scene(np.random.default_rng(seed)), seed))
    rows = [np.concatenate(shots[k : k + COLUMNS], axis=1) for k in range(0, len(shots), COLUMNS)]
    _, encoded = cv2.imencode(".webp", np.concatenate(rows)[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    with new_file(out) as partial:
        partial.write_bytes(encoded.tobytes())


def shot(twin: CosmosTwin, scene: Scene, seed: int) -> UInt8[ndarray, "h w 3"]:
    """Both cameras at the start of an episode, with a white frame."""
    observation, _ = twin.reset(seed=seed, options={"scene": scene})
    image = np.concatenate(list(observation["pixels"].values()), axis=1)
    return cv2.copyMakeBorder(image, GAP, GAP, GAP, GAP, cv2.BORDER_CONSTANT, value=(255, 255, 255)).astype(np.uint8)


if __name__ == "__main__":
    main()
