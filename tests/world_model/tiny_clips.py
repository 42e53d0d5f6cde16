"""Small sets of clips in each of the layouts that are read: folders of videos, Bridge, LeRobot."""

import json
from pathlib import Path

import numpy as np
from tiny_predict import images

from cosmos_sim.data.lerobot import write_dataset
from cosmos_sim.training.video import write_mp4
from cosmos_sim.types import Episode

FPS = 5.0


def video_folder(folder: Path, *, videos: int = 3, frames: int = 21, pictures: int = 2) -> Path:
    """Videos and images with a caption each; every second video has the same."""
    from PIL import Image

    folder.mkdir(parents=True)
    for k in range(videos):
        write_mp4(folder / f"video{k}.mp4", images(frames, (48, 64), seed=k), FPS)
        (folder / f"video{k}.txt").write_text(f"the hand moves {'left' if k % 2 else 'right'}")
    for k in range(pictures):
        Image.fromarray(images(1, (40, 56), seed=100 + k)[0]).save(folder / f"picture{k}.png")
        (folder / f"picture{k}.txt").write_text("a still life")
    return folder


def bridge_folder(folder: Path, *, episodes: int = 2, frames: int = 20) -> Path:
    """Episodes to train on and one to hold out, in IRASim's layout."""
    rng = np.random.default_rng(0)
    for split, count in (("train", episodes), ("val", 1)):
        for k in range(count):
            video = Path("videos") / split / str(k) / "0" / "rgb.mp4"
            (folder / video).parent.mkdir(parents=True)
            write_mp4(folder / video, images(frames, (48, 64), seed=k), FPS)
            annotation = folder / "annotation" / split / f"{k}.json"
            annotation.parent.mkdir(parents=True, exist_ok=True)
            described = {
                "state": rng.normal(0, 0.02, (frames, 6)).cumsum(0).tolist(),
                "continuous_gripper_state": rng.uniform(0, 1, frames).tolist(),
                "videos": [{"video_path": video.as_posix()}],
                "texts": ["put the pot on the stove"],
            }
            annotation.write_text(json.dumps(described))
    return folder


def robot_dataset(folder: Path, *, action_dim: int = 29, episodes: int = 3, steps: int = 16) -> Path:
    """A LeRobot dataset with three cameras of unequal widths and any number of actions."""
    rng = np.random.default_rng(1)
    sizes = {"head": (32, 48), "left": (32, 40), "right": (32, 32)}
    made = [
        Episode(
            frames={name: images(steps, size, seed=10 * k + i) for i, (name, size) in enumerate(sizes.items())},
            state=rng.normal(size=(steps, 5)).astype(np.float32),
            action=rng.normal(2, 3, (steps, action_dim)).astype(np.float32),
            task="fold the cloth",
            fps=FPS,
        )
        for k in range(episodes)
    ]
    write_dataset(made, folder)
    return folder
