"""Table 12 of the Cosmos-Predict2.5 paper, small: how closely a Transfer world keeps to each of its controls.

    cosmos-sim collect --task Lift --episodes 400 --seed 31 --scenes random --annotate --out runs/scenes
    python experiments/transfer_controls.py --data runs/scenes --world transfer --clips 24 --out runs/controls

Held-out clips are made anew from their captions under each control alone, under all four at a quarter of their weight,
and under none. What is made is measured against the control that was given: edges and blur of the real frames, the
simulator's true depth and segments, which a trained annotator reads off the made ones. Every clip that is made is kept
under ``--out``, so that a stopped run goes on. Prints the table and writes the figures (``--json``).
"""

import argparse
import datetime
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from scipy import stats

from cosmos_sim.augmentation.annotator_open import find_annotator
from cosmos_sim.augmentation.annotators import Annotator, Recorded, known_phrases
from cosmos_sim.augmentation.control_spec import ControlSpec
from cosmos_sim.augmentation.control_videos import control_videos
from cosmos_sim.data.annotations import Annotations, read_annotations
from cosmos_sim.data.captions import read_captions
from cosmos_sim.data.files import new_file
from cosmos_sim.data.lerobot import dataset_info, read_episodes
from cosmos_sim.data.pretrained import find_folder
from cosmos_sim.data.split import held_out
from cosmos_sim.evaluation.evaluate import versions
from cosmos_sim.evaluation.outcome import fingerprint
from cosmos_sim.evaluation.report import strict_json, write_whole
from cosmos_sim.metrics.control import blur_ssim, depth_si_rmse, edge_f1, mask_miou
from cosmos_sim.metrics.quality import sharpness
from cosmos_sim.training.provenance import git_commit
from cosmos_sim.world_model.control import KINDS
from cosmos_sim.world_model.transfer import Transfer
from cosmos_sim.world_model.views import join_views, split_views

WEIGHTS: dict[str, dict[str, float]] = {
    "none": {"edge": 0.0},  # says how long the video is, and nothing else
    **{kind: {kind: 1.0} for kind in KINDS},
    "uniform": dict.fromkeys(KINDS, 1 / len(KINDS)),
}
METRICS = {"blur SSIM": 1, "edge F1": 1, "depth si-RMSE": -1, "mask mIoU": 1}
"""1 where more is better, -1 where less is."""
OWN = {"edge": "edge F1", "blur": "blur SSIM", "depth": "depth si-RMSE", "seg": "mask mIoU"}
QUALITY = "sharpness of real"
"""Sharpness, divided by that of the real clip."""


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames of a held-out episode, by camera, with what is known of them."""

    episode: int
    frames: Mapping[str, UInt8[ndarray, "t h w 3"]]
    known: Annotations
    caption: str


@dataclass(frozen=True)
class Judge:
    """What made clips are measured with."""

    annotator: Annotator
    views: tuple[str, ...]
    size: tuple[int, int]

    def scores(self, clip: Clip, made: Mapping[str, UInt8[ndarray, "t h w 3"]]) -> dict[str, float]:
        """Of both cameras side by side (edges, blur), or the mean over the cameras (depth, segments)."""
        truth, estimate = (join_views(video, self.views, size=self.size) for video in (clip.frames, made))
        phrases = known_phrases(self.annotator)
        depth, masks = [], []
        for view in self.views:
            recorded = Recorded(clip.known, view)
            depth.append(depth_si_rmse(truth=clip.known.metres(view), estimate=self.annotator.depth(made[view])))
            true, read = (one.segments(made[view], phrases).ids for one in (recorded, self.annotator))
            masks.append(mask_miou(truth=true, estimate=read).miou)
        return {
            "blur SSIM": blur_ssim(truth=truth, estimate=estimate),
            "edge F1": edge_f1(truth=truth, estimate=estimate).f1,
            "depth si-RMSE": float(np.mean(depth)),
            "mask mIoU": float(np.mean(masks)),
            QUALITY: sharpness(estimate) / sharpness(truth),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="annotated episodes of which a tenth was held out")
    parser.add_argument("--world", default="transfer", help="a shipped name, a folder or a hub id")
    parser.add_argument("--annotator", default=None, help="a trained annotator's folder; the world's own by default")
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--frames", type=int, default=17, help="of each clip, from its episode's middle")
    parser.add_argument("--steps", type=int, default=None, help="of sampling; the world's own by default")
    parser.add_argument("--guidance", type=float, default=None, help="the world's own by default")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("runs/controls"), help="made clips are kept here")
    parser.add_argument("--json", type=Path, default=Path("experiments/transfer_controls.json"))
    arguments = parser.parse_args()
    world = Transfer.from_pretrained(arguments.world, device=arguments.device)
    folder = arguments.annotator or world.annotator
    if folder is None:
        parser.error(f"{arguments.world} has no annotator of its own: give one with --annotator")
    if set(KINDS) - set(world.config.kinds):
        parser.error(f"{arguments.world} has branches for {', '.join(world.config.kinds)} only")
    views = world.views or tuple(dataset_info(arguments.data).cameras)[:1]
    clips = list(held_out_clips(arguments.data, arguments.clips, frames=arguments.frames, cameras=views))
    height, width = clips[0].frames[views[0]].shape[1:3]
    judge = Judge(
        find_annotator(str(folder), device=arguments.device), views, world.size_for(height, width * len(views))
    )
    sampling = {"steps": arguments.steps, "guidance": arguments.guidance}
    content = fingerprint(find_folder(arguments.world, "transfer"))
    kept = arguments.out / content[:12] / "-".join(f"{name}{value}" for name, value in sampling.items())
    scores: dict[str, list[dict[str, float]]] = {"real": [judge.scores(clip, clip.frames) for clip in clips]}
    for name, weights in WEIGHTS.items():
        scores[name] = []
        for clip in clips:
            file = kept / f"{name}-{clip.episode:06d}-{digest(clip)}.npz"
            scores[name].append(judge.scores(clip, made_anew(world, clip, weights, views, file, **sampling)))
        print(f"{name}: {len(clips)} clips", flush=True)
    found = figures(scores) | {
        "study": "a Transfer world on held-out clips under each control, a uniform mix, and none",
        "date": datetime.date.today().isoformat(),
        "commit": git_commit(),
        "world": {"name": Path(arguments.world).name, "sha256": content, **sampling},
        "clips": [clip.episode for clip in clips],
        "frames": arguments.frames,
        "versions": versions(),
    }
    write_whole(arguments.json, strict_json(found))
    print(table(found))


def held_out_clips(data: Path, count: int, *, frames: int, cameras: Sequence[str]) -> Iterator[Clip]:
    """``frames`` from the middle of each of the first ``count`` held-out episodes.

    Raises :class:`ValueError` where there are not as many, or one lacks annotations or a caption.
    """
    info = dataset_info(data)
    episodes = held_out(info.episodes)[:count]
    if len(episodes) < count:
        raise ValueError(f"{str(data)!r} holds out {len(episodes)} of its {info.episodes} episodes, not {count}")
    captions = read_captions(info.path)
    for episode in read_episodes(data, episodes=episodes, cameras=cameras):
        index = episode.info["episode_index"]
        known = read_annotations(info.path, index)
        if known is None or index not in captions or len(episode) < frames:
            raise ValueError(f"episode {index} has no annotations or caption, or fewer than {frames} frames")
        begin = (len(episode) - frames) // 2
        part = slice(begin, begin + frames)
        shown = {camera: video[part] for camera, video in episode.frames.items()}
        yield Clip(index, shown, known.select(part), captions[index].caption)


def digest(clip: Clip) -> str:
    """Says of which frames, annotations and caption a clip that was kept is."""
    arrays = (*clip.frames.values(), *clip.known.depth.values(), *clip.known.segments.values())
    content = [clip.caption.encode(), *(np.ascontiguousarray(array).tobytes() for array in arrays)]
    return hashlib.sha256(b"".join(content)).hexdigest()[:12]


def made_anew(
    world: Transfer,
    clip: Clip,
    weights: Mapping[str, float],
    views: tuple[str, ...],
    file: Path,
    *,
    steps: int | None,
    guidance: float | None,
) -> dict[str, UInt8[ndarray, "t h w 3"]]:
    """The clip under controls of these weights, from ``file`` where it was kept."""
    if not file.is_file():
        height, width = next(iter(clip.frames.values())).shape[1:3]
        controls = control_videos(
            clip.frames,
            [ControlSpec(kind, weight) for kind, weight in weights.items()],
            size=world.size_for(height, width * len(views)),
            views=views,
            annotators={view: Recorded(clip.known, view) for view in views},
            seed=clip.episode,
        )
        pieces = world.translate(controls, prompt=clip.caption, seed=clip.episode, steps=steps, guidance=guidance)
        video = np.concatenate(list(pieces))
        with new_file(file) as partial, partial.open("wb") as out:
            np.savez_compressed(out, allow_pickle=False, video=video)
    with np.load(file, allow_pickle=False) as kept:
        sizes = {view: frames.shape[1:3] for view, frames in clip.frames.items()}
        return split_views(kept["video"], views, sizes={view: (h, w) for view, (h, w) in sizes.items()})


def figures(scores: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """Means with bootstrap intervals over clips, differences from no control on the same clips, and the bar."""
    rows: dict[str, Any] = {}
    for name, clips in scores.items():
        values = {metric: np.array([clip[metric] for clip in clips]) for metric in (*METRICS, QUALITY)}
        rows[name] = {metric: _interval(value) | {"clips": value.tolist()} for metric, value in values.items()}
    for name in WEIGHTS:
        for metric in METRICS:
            apart = np.subtract(rows[name][metric]["clips"], rows["none"][metric]["clips"])
            rows[name][metric]["over none"] = _interval(apart)
    ranks = {
        metric: 1 + sum(sign * (rows[kind][metric]["mean"] - rows["uniform"][metric]["mean"]) > 0 for kind in KINDS)
        for metric, sign in METRICS.items()
    }
    better = {}
    for kind, metric in OWN.items():
        low, high = (METRICS[metric] * rows[kind][metric]["over none"][end] for end in ("low", "high"))
        better[kind] = min(low, high) > 0
    return {
        "rows": rows,
        "each control better on its own metric than none (interval beyond 0)": better,
        "rank of the uniform mix": ranks,
    }


def _interval(values: ndarray) -> dict[str, float]:
    """The mean and its 95% percentile bootstrap interval."""
    mean = float(values.mean())
    if len(values) < 2 or not values.std():
        return {"mean": mean, "low": mean, "high": mean}
    found = stats.bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(0)).confidence_interval
    return {"mean": mean, "low": float(found.low), "high": float(found.high)}


def table(found: Mapping[str, Any]) -> str:
    """Markdown; ``real`` is what the judge itself makes of real frames."""
    columns = (*METRICS, QUALITY)
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for name, row in found["rows"].items():
        cells = [f"{row[m]['mean']:.3f} ({row[m]['low']:.3f}-{row[m]['high']:.3f})" for m in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    told = {key: value for key, value in found.items() if key.startswith(("each", "rank"))}
    return "\n".join([*lines, "", json.dumps(told, indent=1)])


if __name__ == "__main__":
    main()
