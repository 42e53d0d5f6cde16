"""A contact sheet: sources and their variants side by side, on one page that needs nothing else."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from cosmos_sim.augmentation.staging import Staged
from cosmos_sim.data.files import short_name
from cosmos_sim.data.images import stretch
from cosmos_sim.data.lerobot import read_episodes
from cosmos_sim.data.video import SequentialVideo

MOMENTS = 8
"""Pictures of each episode."""

_HEIGHT = 112


class Shown(Protocol):
    """An episode of the page."""

    @property
    def source(self) -> int: ...

    @property
    def staged(self) -> Staged | None: ...


def write_page(
    file: Path,
    source: Path,
    entries: Sequence[Shown],
    rejected: Sequence[Staged],
    record: Mapping[str, Any],
    *,
    most: int = 40,
) -> None:
    """Write the page of a dataset. Of more than ``most`` sources, that many are shown, evenly chosen, those with
    rejected variants first.
    """
    good: dict[int, list[Staged]] = {entry.source: [] for entry in entries}
    for entry in entries:
        if entry.staged is not None:
            good[entry.source].append(entry.staged)
    bad = {index: [one for one in rejected if one.episode == index] for index in {one.episode for one in rejected}}
    every = sorted(good.keys() | bad.keys())
    some = sorted(every, key=lambda index: (index not in bad, (every.index(index) * 0.6180339887) % 1))[:most]
    rows = [_row(source, index, good.get(index, []), bad.get(index, [])) for index in sorted(some)]
    chosen = "" if len(some) == len(every) else f" {len(some)} of {len(every)} episodes are shown."
    style, script = (
        resources.files("cosmos_sim.augmentation").joinpath("sheet", name).read_text(encoding="utf-8")
        for name in ("sheet.css", "sheet.js")
    )
    settings = record["settings"]
    title = escape(f"{short_name(settings['dataset'])}: {record['variants']} variants of {record['sources']} episodes")
    head = (
        f"<header><h1>{title}</h1><p>Made by <b>{escape(short_name(settings['model']))}</b> under "
        f"{escape(', '.join(settings['controls']))}, guidance {settings['guidance']:g}. "
        f"{len(record['rejected'])} variants were rejected by their checks and are not in the dataset, "
        f"{len(record['failed'])} could not be made.{chosen}</p>"
        '<div class="controls"><button type="button" id="play" aria-pressed="false">play</button>'
        f'<input type="range" id="moment" min="0" max="{MOMENTS - 1}" value="{MOMENTS // 2}" '
        'aria-label="moment of the episodes"><label><input type="checkbox" id="only"> only episodes with '
        "rejections</label></div></header>"
    )
    file.write_text(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{title}</title><link rel="icon" href="data:,"><style>\n{style}</style></head>\n'
        f'<body style="--moments: {MOMENTS}">{head}<main>{"".join(rows)}</main>\n'
        f"<script>\n{script}</script></body></html>\n",
        encoding="utf-8",
    )


def _row(source: Path, index: int, good: Sequence[Staged], bad: Sequence[Staged]) -> str:
    (episode,) = read_episodes(source, [index])
    cells = [_cell(_strip(episode.frames), "source", "", "source")]
    for staged in sorted([*good, *bad], key=lambda one: one.variant):
        with_videos = dict(episode.frames)
        for camera, video in staged.videos.items():
            with SequentialVideo(video) as opened:
                with_videos[camera] = opened.read(0.0, len(episode), fps=int(episode.fps))
        last = staged.attempts[-1]
        scores = " ".join(f"{name} {value:.2f}" for name, value in last.scores.items())
        mark = "accepted" if staged.accepted else "rejected"
        title = f"variant {staged.variant}" + ("" if staged.accepted else f": {'; '.join(last.faults)}")
        text = f"{staged.prompt.caption.caption}\n\nseed {last.seed}, attempt {len(staged.attempts)}\n{scores}"
        cells.append(_cell(_strip(with_videos), title, text, mark))
    return f'<section class="{"bad" if bad else ""}"><h2>episode {index}</h2><div>{"".join(cells)}</div></section>'


def _cell(strip: UInt8[ndarray, "h w 3"], title: str, text: str, kind: str) -> str:
    done, data = cv2.imencode(".jpg", cv2.cvtColor(strip, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 75])
    assert done, "OpenCV encodes every uint8 image"
    width, height = strip.shape[1] // MOMENTS, strip.shape[0]
    picture = base64.b64encode(data.tobytes()).decode()
    return (
        f'<figure class="{kind}" tabindex="0" title="{escape(text)}"><div class="strip" style="width: {width}px; '
        f'height: {height}px; background-image: url(data:image/jpeg;base64,{picture})"></div>'
        f"<figcaption>{escape(title)}</figcaption></figure>"
    )


def _strip(videos: Mapping[str, UInt8[ndarray, "t h w 3"]]) -> UInt8[ndarray, "h w 3"]:
    """Moments of an episode from left to right, in each of them the cameras side by side."""
    moments = np.linspace(0, len(next(iter(videos.values()))) - 1, MOMENTS).round().astype(int)
    cameras = []
    for frames in videos.values():
        width = max(1, round(frames.shape[2] * _HEIGHT / frames.shape[1]))
        cameras.append(stretch(frames[moments], (_HEIGHT, width)))
    return np.concatenate(list(np.concatenate(cameras, axis=2)), axis=1)
