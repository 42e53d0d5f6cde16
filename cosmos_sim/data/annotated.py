"""Frames of datasets together with what is known of each of their pixels, for networks that learn to tell it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8, UInt16
from numpy import ndarray
from tqdm import tqdm

from cosmos_sim.data.annotations import Annotations, read_annotations
from cosmos_sim.data.lerobot import dataset_info, read_episodes
from cosmos_sim.data.split import held_out
from cosmos_sim.types import Episode


@dataclass(frozen=True, eq=False)
class AnnotatedFrames:
    """``n`` moments as each camera saw them; depth and segments are as in :class:`~.annotations.Annotations`."""

    frames: Mapping[str, UInt8[ndarray, "n h w c"]]
    depth: Mapping[str, UInt16[ndarray, "n h w"]]
    segments: Mapping[str, UInt8[ndarray, "n h w"]]
    names: tuple[str, ...]
    train_rows: Int64[ndarray, "m"]
    held_out_rows: Int64[ndarray, "k"]
    """Moments of episodes that are not trained on (see :mod:`cosmos_sim.data.split`)."""


def load_annotated(
    datasets: Sequence[str | Path], *, cameras: Sequence[str] = (), per_episode: int = 8, progress: bool = False
) -> AnnotatedFrames:
    """``per_episode`` moments, evenly spread, of every annotated episode of ``datasets``, into memory.

    Args:
        datasets: each a folder, or what else :func:`~cosmos_sim.data.lerobot.dataset_info` takes.
        cameras: all of the first dataset's by default.
        per_episode: all moments of an episode that is not longer.
        progress: show a bar for each dataset.

    Raises:
        ValueError: if no episode is annotated, if datasets differ in the names of segments or in a camera's size, and
            for annotations that lack a camera or do not fit their frames.
    """
    if per_episode < 1:
        raise ValueError(f"per_episode must be at least 1, got {per_episode}")
    if not datasets:
        raise ValueError("there are no datasets to learn from")
    chosen = tuple(cameras) or tuple(dataset_info(datasets[0]).cameras)
    found: list[tuple[Episode, Annotations]] = []
    apart: list[bool] = []
    for dataset in datasets:
        info = dataset_info(dataset)
        kept = held_out(info.episodes)
        episodes = tqdm(read_episodes(dataset, cameras=chosen), info.path.name, info.episodes, disable=not progress)
        for index, episode in enumerate(episodes):
            if (known := read_annotations(info.path, index)) is not None:
                where = f"episode {index} of {str(dataset)!r}"
                steps = np.unique(np.linspace(0, len(episode) - 1, per_episode).round().astype(np.int64))
                _check(episode, known, where=where, like=found[0] if found else None)
                seen = {camera: images[steps] for camera, images in episode.frames.items()}
                found.append(
                    (Episode(seen, episode.state[steps], episode.action[steps], episode.task), known.select(steps))
                )
                apart += [index in kept] * len(steps)
    if not found:
        raise ValueError(
            f"no episode of {', '.join(map(str, datasets))} has annotations: record them with "
            "cosmos-sim collect --annotate"
        )
    rows, judged = np.arange(len(apart)), np.array(apart)
    return AnnotatedFrames(
        frames={camera: np.concatenate([episode.frames[camera] for episode, _ in found]) for camera in chosen},
        depth={camera: np.concatenate([known.depth[camera] for _, known in found]) for camera in chosen},
        segments={camera: np.concatenate([known.segments[camera] for _, known in found]) for camera in chosen},
        names=found[0][1].names,
        train_rows=rows[~judged],
        held_out_rows=rows[judged],
    )


def _check(episode: Episode, known: Annotations, *, where: str, like: tuple[Episode, Annotations] | None) -> None:
    """Raise :class:`ValueError` where ``known`` does not fit the episode's frames, or those are unlike ``like``."""
    if like is not None and known.names != like[1].names:
        raise ValueError(f"{where} names its segments {known.names}, the first episode {like[1].names}")
    for camera, images in episode.frames.items():
        if camera not in known.depth:
            raise ValueError(f"{where} has no annotations of camera {camera!r}, only of {', '.join(known.cameras)}")
        if known.depth[camera].shape != images.shape[:3]:
            raise ValueError(
                f"{where} has annotations {known.depth[camera].shape} for the frames {images.shape} of {camera!r}"
            )
        if like is not None and images.shape[1:] != like[0].frames[camera].shape[1:]:
            raise ValueError(
                f"{where} has frames {images.shape[1:]} of {camera!r}, the first {like[0].frames[camera].shape[1:]}"
            )
