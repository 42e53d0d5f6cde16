"""The picture at the top of the README: the shipped world beside the simulator, under the same actions.

A scripted policy acts in the twin; its actions are replayed, open loop, in the world from the same start frame.

    python experiments/side_by_side.py --seed 3 --out docs/media/side_by_side.webp
"""

import argparse
from pathlib import Path

import gymnasium
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont

import cosmos_sim  # noqa: F401, registers the environments
from cosmos_sim.policies.scripted import scripted_policy

SCALE, GAP, CAPTION = 2, 8, 26


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=3, help="the twin's seed; one of the world's shipped starts")
    parser.add_argument("--skills", nargs="+", default=["expert", "clumsy"], help="one strip for each")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("docs/media/side_by_side.webp"))
    arguments = parser.parse_args()

    twin = gymnasium.make("CosmosTwin-v0", terminate_on_success=False).unwrapped
    world = gymnasium.make("CosmosWorld-v0", success_frames=10**6).unwrapped
    frames = []
    for skill in arguments.skills:
        truth, actions = act(twin, skill, arguments.seed, arguments.steps)
        imagined = replay(world, actions, arguments.seed)
        frames += [strip(skill, a, b) for a, b in zip(truth, imagined, strict=True)]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    first, *rest = [Image.fromarray(frame) for frame in frames]
    first.save(arguments.out, save_all=True, append_images=rest, duration=100, loop=0, quality=70, method=5)
    print(f"{arguments.out}: {len(frames)} frames, {arguments.out.stat().st_size / 2**20:.1f} MB")


def act(twin: gymnasium.Env, skill: str, seed: int, steps: int) -> tuple[list[ndarray], list[ndarray]]:
    """The twin's frames (cameras side by side, start included) and the actions of a scripted policy."""
    policy = scripted_policy("Lift", skill)
    policy.reset([seed])
    observation, info = twin.reset(seed=seed)
    frames, actions = [joined(observation)], []
    while len(actions) < steps:
        batched = {"state": {name: np.asarray(value)[None] for name, value in info["state"].items()}}
        pixels = {camera: image[None] for camera, image in observation["pixels"].items()}
        chunk = policy.act({"pixels": pixels, "agent_pos": observation["agent_pos"][None]}, batched)[0]
        for action in chunk[: steps - len(actions)]:
            observation, _, _, _, info = twin.step(action)
            frames.append(joined(observation))
            actions.append(action)
    return frames, actions


def replay(world: gymnasium.Env, actions: list[ndarray], seed: int) -> list[ndarray]:
    """The world's frames under ``actions``, from the start that the twin's ``seed`` made."""
    observation, _ = world.reset(seed=seed, options={"twin_seed": seed})
    return [joined(observation), *(joined(world.step(action)[0]) for action in actions)]


def joined(observation: dict) -> UInt8[ndarray, "h w 3"]:
    return np.concatenate(list(observation["pixels"].values()), axis=1)


def strip(skill: str, truth: ndarray, imagined: ndarray) -> UInt8[ndarray, "h w 3"]:
    """One captioned frame: simulator on the left, world on the right."""
    h, w = truth.shape[0] * SCALE, truth.shape[1] * SCALE
    image = Image.new("RGB", (2 * w + GAP, h + CAPTION), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=15)
    sides = ((0, f"simulator ({skill} policy)", truth), (w + GAP, "learned world, same actions", imagined))
    for x, caption, pixels in sides:
        draw.text((x + 4, 4), caption, fill="black", font=font)
        image.paste(Image.fromarray(pixels).resize((w, h), Image.Resampling.BICUBIC), (x, CAPTION))
    return np.asarray(image)


if __name__ == "__main__":
    main()
