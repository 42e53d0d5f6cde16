"""The label checks of ``cosmos-sim augment``: their limits, set on real videos, and what broken generators they catch.

    cosmos-sim collect --task Lift --episodes 60 --seed 77 --scenes base --annotate --skills expert=1 --out runs/real
    python experiments/label_checks.py --data runs/real --world runs/transfer --write

Each episode is rendered again by the simulator: the same motion, in another scene of the training's words, with the
camera, the dish and the cabinet where they were; and coded by the world's tokenizer and back, as all that the world
makes is. That is what a perfect generator would make of it. Limits are set on half of the episodes, half of the way
from such videos to those that are broken as generators break; on the other half of the episodes it is counted how many
of either they reject. ``--write`` puts the limits into the world's folder, where ``augment`` finds them.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray
from tqdm import tqdm

from cosmos_sim.augmentation.annotator_open import find_annotator
from cosmos_sim.augmentation.annotators import Annotator, Recorded, known_phrases
from cosmos_sim.augmentation.checks import ROBOT, View, score_variant
from cosmos_sim.augmentation.limits import Limits, limits_json, set_limits, widened, write_limits
from cosmos_sim.augmentation.opening import LIMITS
from cosmos_sim.data.images import stretch
from cosmos_sim.data.lerobot import read_episodes
from cosmos_sim.envs.twin.env import CosmosTwin
from cosmos_sim.envs.twin.random_scenes import random_scene
from cosmos_sim.envs.twin.scene import Scene
from cosmos_sim.envs.twin.scene_words import KEPT_OUTLINES
from cosmos_sim.envs.twin.scenes import find_scene
from cosmos_sim.evaluation.report import write_whole
from cosmos_sim.metrics.intervals import clopper_pearson
from cosmos_sim.world_model.transfer import Transfer

Frames = Mapping[str, UInt8[ndarray, "t h w 3"]]


def repainted(base: Scene, rng: np.random.Generator) -> Scene:
    """``base`` in other colours, materials and light, everything where it was."""
    while True:
        drawn = random_scene(rng)
        if (
            drawn.words.table in KEPT_OUTLINES["TABLE"]
            and drawn.words.background in KEPT_OUTLINES["SENTENCE_BACKGROUND"]
        ):
            return replace(drawn, camera=base.camera, dish_place=base.dish_place, props=base.props)


def render_again(
    twin: CosmosTwin, *, seed: int, scene: Scene, actions: Float32[ndarray, "t a"], states: Float32[ndarray, "t n"]
) -> Frames:
    """The frames of an episode in another scene.

    Raises:
        ValueError: the simulator's states are not those that were recorded.
    """
    observation, _ = twin.reset(seed=seed, options={"scene": scene})
    frames: dict[str, list[ndarray]] = {camera: [] for camera in observation["pixels"]}
    for action, state in zip(actions, states, strict=True):
        if not np.array_equal(observation["agent_pos"], state):
            raise ValueError(f"the episode of seed {seed} does not repeat: {observation['agent_pos']} is not {state}")
        for camera, image in observation["pixels"].items():
            frames[camera].append(image)
        observation, *_ = twin.step(action)
    return {camera: np.stack(images) for camera, images in frames.items()}


def shifted(frames: Frames, other: Frames) -> Frames:
    return {camera: np.roll(video, video.shape[2] // 10, axis=2) for camera, video in frames.items()}


def frozen(frames: Frames, other: Frames) -> Frames:
    return {camera: np.repeat(video[:1], len(video), axis=0) for camera, video in frames.items()}


def late(frames: Frames, other: Frames) -> Frames:
    return {camera: np.concatenate([video[:1].repeat(4, axis=0), video[:-4]]) for camera, video in frames.items()}


def swapped(frames: Frames, other: Frames) -> Frames:
    names = list(frames)
    return {
        name: stretch(frames[partner], frames[name].shape[1:3])
        for name, partner in zip(names, names[1:] + names[:1], strict=True)
    }


def flickering(frames: Frames, other: Frames) -> Frames:
    gains = np.random.default_rng(0).uniform(0.85, 1.1, len(next(iter(frames.values()))))
    return {c: np.clip(v * gains[:, None, None, None], 0, 255).astype(np.uint8) for c, v in frames.items()}


def two_scenes(frames: Frames, other: Frames) -> Frames:
    last = list(frames)[-1]
    return {**frames, last: other[last]}


FAULTS: dict[str, Callable[[Frames, Frames], Frames]] = {
    "robot and all shifted by a tenth": shifted,
    "frozen at the first frame": frozen,
    "four frames late": late,
    "cameras swapped": swapped,
    "brightness flickers": flickering,
    "views of two scenes": two_scenes,
}
"""What a generator may do wrong, given the frames in two scenes; another episode's video comes beside."""


AIMS = {
    "mask_iou": "robot and all shifted by a tenth",
    "edge_f1": "robot and all shifted by a tenth",
    "object_iou": "robot and all shifted by a tenth",
    "motion": "four frames late",
    "flicker": "brightness flickers",
    "view_colour": "views of two scenes",
}
"""The fault that each check is there to find."""


def seen(frames: Frames, reader: Mapping[str, Annotator], phrases: Sequence[str]) -> dict[str, View]:
    return {camera: View(video, reader[camera].segments(video, phrases)) for camera, video in frames.items()}


def takes(
    data: Path, world: Transfer, annotator: Annotator, looks: int, episodes: int | None
) -> Iterator[tuple[dict[str, View], list[Frames]]]:
    """Every episode as it was, with its true segments, and its frames in so many other scenes."""
    shown = world.reconstructed
    plans = json.loads((data / "meta" / "collection.json").read_text())["episodes"][:episodes]
    twin = CosmosTwin(horizon=10_000, terminate_on_success=False, scene="base")
    base = find_scene("base")
    phrases = (ROBOT, *(name for name in known_phrases(annotator) if name != ROBOT))
    for plan, episode in zip(
        tqdm(plans, "rendering", unit="episode"), read_episodes(data, range(len(plans))), strict=True
    ):
        truth = {camera: Recorded.of(data, plan["index"], camera) for camera in episode.frames}
        again = [
            shown(
                render_again(
                    twin,
                    seed=plan["seed"],
                    scene=repainted(base, np.random.default_rng([7, plan["index"], look])),
                    actions=episode.action,
                    states=episode.state,
                )
            )
            for look in range(looks)
        ]
        yield seen(episode.frames, truth, phrases), again
    twin.close()


def study(
    data: Path, world: Transfer, annotator: Annotator, looks: int, episodes: int | None
) -> tuple[Limits, dict[str, Any]]:
    """Limits from the even episodes; of the odd ones, how many real and broken videos they reject.

    The first episode comes before any other, so the second's broken videos are the first ones.
    """
    phrases = (ROBOT, *(one for one in known_phrases(annotator) if one != ROBOT))
    real: list[list[dict[str, float]]] = []
    broken: dict[str, list[dict[str, float]]] = {fault: [] for fault in (*FAULTS, "another episode")}
    before: Frames | None = None
    for source, again in takes(data, world, annotator, looks, episodes):

        def score(frames: Frames, source: dict[str, View] = source) -> dict[str, float]:
            reader = dict.fromkeys(frames, annotator)
            return score_variant(source, seen(frames, reader, phrases))

        real.append([score(frames) for frames in again])
        if before is not None:
            for fault, break_it in FAULTS.items():
                broken[fault].append(score(break_it(again[0], again[-1])))
            broken["another episode"].append(score(before))
        before = again[0]
    perfect = set_limits(
        [one for scores in real[::2] for one in scores],
        origin={"what": "episodes rendered again in other scenes, coded and decoded", "episodes": len(real[::2])},
    )
    limits = widened(perfect, {check: broken[fault][1::2] for check, fault in AIMS.items()})
    told: dict[str, Any] = {
        "real videos' limits": limits_json(perfect),
        "limits": limits_json(limits),
        "real": _rejected(limits, [one for scores in real[1::2] for one in scores]),
    }
    told["scores"] = {"real": real, **broken}
    told["broken"] = {fault: _rejected(limits, scores[::2]) for fault, scores in broken.items()}
    return limits, told


def _rejected(limits: Limits, scores: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    faults = [limits.faults(one) for one in scores]
    count = sum(bool(found) for found in faults)
    interval = clopper_pearson(count, len(scores))
    checks = {name: sum(any(f.startswith(f"{name} ") for f in found) for found in faults) for name in limits.worst}
    by_check = {name: hits for name, hits in checks.items() if hits}
    return {"videos": len(scores), "rejected": count, "interval": [interval.low, interval.high], "by_check": by_check}


def table(told: Mapping[str, Any]) -> str:
    """The figures as text."""
    lines = [f"{'held-out videos':<36}{'rejected':>12}   95 %         mostly by"]
    for name, row in (("real, in other scenes", told["real"]), *told["broken"].items()):
        most = ", ".join(sorted(row["by_check"], key=lambda check: -row["by_check"][check])[:3])
        low, high = row["interval"]
        lines.append(f"{name:<36}{row['rejected']:>5} / {row['videos']:<4}   {low:.2f} - {high:.2f}  {most}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="episodes of scene base that nothing was trained on")
    parser.add_argument("--world", default="transfer", help="a Transfer world with an annotator")
    parser.add_argument("--looks", type=int, default=2, help="other scenes of each episode")
    parser.add_argument("--episodes", type=int, help="the first so many of them (default: all)")
    parser.add_argument("--write", action="store_true", help="put the limits into the world's folder")
    parser.add_argument("--json", type=Path, default=Path("experiments/label_checks.json"))
    arguments = parser.parse_args()
    if arguments.looks < 2:
        parser.error(f"--looks must be at least 2, for views of two scenes, got {arguments.looks}")
    world = Transfer.from_pretrained(arguments.world, device="cpu")
    if world.annotator is None:
        parser.error(f"--world {arguments.world} has no annotator")
    limits, told = study(
        arguments.data, world, find_annotator(str(world.annotator)), arguments.looks, arguments.episodes
    )
    print(table(told))
    write_whole(arguments.json, json.dumps(told, indent=1) + "\n")
    if arguments.write:
        write_limits(limits, world.annotator / LIMITS)


if __name__ == "__main__":
    main()
