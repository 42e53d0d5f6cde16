"""How a long video decays that a Transfer world makes chunk after chunk: figure 10 of the paper, small.

    python experiments/transfer_drift.py --data runs/scenes --world transfer --chunks 24 --episodes 3

Held-out episodes, played forwards and backwards until they fill so many chunks, are made anew from their captions under
each control alone and under the default ones (medium edges, a little blur on the robot). Of every chunk: RNDS (Relative
Normalized Dover Score, equation 5 of the Cosmos-Predict2.5 paper) with a judge of ``metrics.quality`` in DOVER's place,
edge F1 against the source, how far the mean colour has moved from the first chunk's, and the memory of the process.
Writes the figures (``--json``) and their curves (``--picture``).
"""

import argparse
import datetime
import os
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np

from cosmos_sim.augmentation.annotators import Recorded
from cosmos_sim.augmentation.control_spec import DEFAULT, ControlSpec
from cosmos_sim.augmentation.control_videos import control_videos
from cosmos_sim.data.annotations import read_annotations
from cosmos_sim.data.captions import read_captions
from cosmos_sim.data.lerobot import dataset_info, read_episodes
from cosmos_sim.data.pretrained import find_folder
from cosmos_sim.data.split import held_out
from cosmos_sim.evaluation.evaluate import versions
from cosmos_sim.evaluation.outcome import fingerprint
from cosmos_sim.evaluation.report import strict_json, write_whole
from cosmos_sim.metrics.control import edge_f1
from cosmos_sim.metrics.drift import rnds
from cosmos_sim.metrics.quality import Quality, find_quality
from cosmos_sim.training.provenance import git_commit
from cosmos_sim.world_model.chunks import reflected
from cosmos_sim.world_model.transfer import Transfer
from cosmos_sim.world_model.views import join_views

_LEFT, _TOP, _WIDTH, _HEIGHT, _FOOT = 44, 34, 460, 220, 40
_COLOURS = ("#1b6ca8", "#c1521d", "#2b8a3e", "#7a3e9d", "#444")


@dataclass
class Curves:
    """What is measured of each chunk of one video."""

    quality: list[float] = field(default_factory=list)
    real: list[float] = field(default_factory=list)
    """Quality of the source's own frames of the same chunk."""
    edges: list[float] = field(default_factory=list)
    colour: list[float] = field(default_factory=list)
    """Levels between the mean colour of the chunk and of the first."""
    megabytes: list[float] = field(default_factory=list)

    def as_json(self) -> dict[str, list[float]]:
        return {**vars(self), "rnds": list(rnds(truth=self.real, estimate=self.quality))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="annotated episodes of which a tenth was held out")
    parser.add_argument("--world", default="transfer", help="a shipped name, a folder or a hub id")
    parser.add_argument("--chunks", type=int, default=24)
    parser.add_argument("--episodes", type=int, default=3)
    parser.add_argument("--quality", default="sharpness", help="a judge's name, or package.module:function")
    parser.add_argument("--steps", type=int, help="of sampling; the world's own by default")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, default=Path("experiments/transfer_drift.json"))
    parser.add_argument("--picture", type=Path, default=Path("docs/media/transfer_drift.svg"))
    arguments = parser.parse_args()
    world = Transfer.from_pretrained(arguments.world, device=arguments.device)
    judge = find_quality(arguments.quality)
    info = dataset_info(arguments.data)
    episodes = held_out(info.episodes)[: arguments.episodes]
    if len(episodes) < arguments.episodes:
        parser.error(f"{arguments.data} holds out {len(episodes)} episodes, not {arguments.episodes}")
    rows: dict[str, list[dict[str, list[float]]]] = {}
    for name, specs in settings(world).items():
        rows[name] = [
            drift(
                world, arguments.data, episode, specs, judge, chunks=arguments.chunks, steps=arguments.steps
            ).as_json()
            for episode in episodes
        ]
        print(f"{name}: RNDS of the last chunk {np.mean([row['rnds'][-1] for row in rows[name]]):.3f}", flush=True)
    found = {
        "study": f"videos of {arguments.chunks} chunks made anew; RNDS with {arguments.quality} in place of DOVER",
        "date": datetime.date.today().isoformat(),
        "commit": git_commit(),
        "world": {
            "name": Path(arguments.world).name,
            "sha256": fingerprint(find_folder(arguments.world, "transfer")),
            "chunk": world.config.chunk,
            "steps": arguments.steps or world.config.sampling.steps,
        },
        "episodes": list(episodes),
        "rows": rows,
        "versions": versions(),
    }
    write_whole(arguments.json, strict_json(found))
    write_whole(arguments.picture, chart({name: mean_curve(row, "rnds") for name, row in rows.items()}))
    print(table(rows))


def settings(world: Transfer) -> dict[str, tuple[ControlSpec, ...]]:
    """Each control alone, and the paper's for robots where there are branches for them."""
    found: dict[str, tuple[ControlSpec, ...]] = {kind: (ControlSpec(kind),) for kind in world.config.kinds}
    if {spec.kind for spec in DEFAULT} <= set(world.config.kinds):
        found["default"] = DEFAULT
    return found


def drift(
    world: Transfer,
    data: Path,
    episode: int,
    specs: Sequence[ControlSpec],
    judge: Quality,
    *,
    chunks: int,
    steps: int | None,
) -> Curves:
    """Make ``episode`` anew, as long as ``chunks`` chunks, and measure each; no more than one of them is held.

    Raises :class:`ValueError` for an episode without annotations or a caption.
    """
    info, views = dataset_info(data), world.views or tuple(dataset_info(data).cameras)[:1]
    known, caption = read_annotations(info.path, episode), read_captions(info.path).get(episode)
    if known is None or caption is None:
        raise ValueError(f"episode {episode} of {str(data)!r} has no annotations or no caption")
    (shown,) = read_episodes(data, episodes=[episode], cameras=views)
    order = reflected(0, 1 + chunks * (world.config.chunk - 1), len(shown.frames[views[0]]))
    sources = {view: shown.frames[view][order] for view in views}
    height, width = sources[views[0]].shape[1:3]
    size = world.size_for(height, width * len(views))
    annotations = known.select(order)
    controls = control_videos(
        sources,
        specs,
        size=size,
        views=views,
        annotators={view: Recorded(annotations, view) for view in views},
        seed=episode,
    )
    source, curves, first, begin = join_views(sources, views, size=size), Curves(), None, 0
    for made in world.translate(controls, prompt=caption.caption, seed=episode, steps=steps):
        real = source[begin : begin + len(made)]
        begin += len(made)
        mean = made.mean(axis=(0, 1, 2))
        first = mean if first is None else first
        curves.quality.append(judge(made))
        curves.real.append(judge(real))
        curves.edges.append(edge_f1(truth=real, estimate=made).f1)
        curves.colour.append(float(np.abs(mean - first).mean()))
        curves.megabytes.append(resident())
    return curves


def resident() -> float:
    """Megabytes that this process holds now; its most so far where the system does not tell."""
    statm = Path("/proc/self/statm")
    if statm.is_file():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def mean_curve(row: Sequence[Mapping[str, Sequence[float]]], name: str) -> list[float]:
    """The mean over videos of each chunk's figure."""
    return np.mean([curves[name] for curves in row], axis=0).tolist()


def table(rows: Mapping[str, Sequence[Mapping[str, Sequence[float]]]]) -> str:
    """Markdown: the means over videos of the first, the middle and the last chunk."""
    lines = ["| | RNDS | edge F1 | colour moved | MB after two chunks, at the end |", "|---|---|---|---|---|"]
    for name, row in rows.items():
        decay, edges, colour, memory = (mean_curve(row, key) for key in ("rnds", "edges", "colour", "megabytes"))
        spots = sorted({0, len(decay) // 2, len(decay) - 1})
        told = [", ".join(f"{curve[k]:.3f}" for k in spots) for curve in (decay, edges)]
        held = f"{memory[min(1, len(memory) - 1)]:.0f}, {memory[-1]:.0f}"
        lines.append(f"| {name} | {told[0]} | {told[1]} | {colour[-1]:.1f} | {held} |")
    return "\n".join(lines)


def chart(curves: Mapping[str, Sequence[float]]) -> str:
    """RNDS over chunks, a line a control, as an SVG file of its own."""
    values = [value for curve in curves.values() for value in curve]
    low, high = min(0.5, *values), max(1.1, *values)
    count = max(len(curve) for curve in curves.values())
    width = _LEFT + _WIDTH + 90

    def at(chunk: int, value: float) -> str:
        x = _LEFT + _WIDTH * (chunk - 1) / max(count - 1, 1)
        return f"{x:.1f},{_TOP + _HEIGHT * (high - value) / (high - low):.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_TOP + _HEIGHT + _FOOT}" role="img" '
        'font-family="system-ui, sans-serif" font-size="11">',
        "<title>RNDS of videos made chunk after chunk: 1 is no decay</title>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{_LEFT}" y="18" fill="#222">RNDS (1 is no decay)</text>',
    ]
    for value in np.linspace(low, high, 4).tolist():
        x, y = at(1, value).split(",")
        parts.append(f'<line x1="{x}" x2="{_LEFT + _WIDTH}" y1="{y}" y2="{y}" stroke="#e6e6e6"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{float(y) + 4:.1f}" text-anchor="end" fill="#666">{value:.2f}</text>')
    for chunk in sorted({1, count, *range(5, count, 5)}):
        x = at(chunk, low).split(",")[0]
        parts.append(f'<text x="{x}" y="{_TOP + _HEIGHT + 16}" text-anchor="middle" fill="#666">{chunk}</text>')
    parts.append(f'<text x="{_LEFT}" y="{_TOP + _HEIGHT + 32}" fill="#666">chunk</text>')
    for k, (name, curve) in enumerate(curves.items()):
        line, colour = " ".join(at(i, value) for i, value in enumerate(curve, 1)), _COLOURS[k % len(_COLOURS)]
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        parts.append(f'<text x="{_LEFT + _WIDTH + 10}" y="{_TOP + 14 + 16 * k}" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    main()
