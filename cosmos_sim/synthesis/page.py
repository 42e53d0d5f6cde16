"""A page of dreams: each as a video, what was read off it, what the simulator made of that, and why it was rejected."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from cosmos_sim.data.files import short_name
from cosmos_sim.evaluation.clip import beside, mp4
from cosmos_sim.synthesis.staging import Staged, Staging, Told

_WIDTH, _HEIGHT, _LEFT = 264, 76, 22
_AXES = 3
"""Curves of a chart: the first numbers of an action, and of the proprioception (a hand's x, y, z)."""


class Shown(Protocol):
    """A dream of the page."""

    @property
    def told(self) -> Told: ...

    @property
    def scores(self) -> Mapping[str, float]: ...

    @property
    def faults(self) -> tuple[str, ...]: ...


def write_page(
    file: Path, staging: Staging, dreams: Sequence[Shown], record: Mapping[str, Any], *, fps: float, most: int = 120
) -> None:
    """Write the page. Of more than ``most`` dreams that many are shown, spread evenly over accepted and rejected."""
    chosen = _spread([k for k, one in enumerate(dreams) if not one.faults], most // 2)
    chosen |= _spread([k for k, one in enumerate(dreams) if one.faults], most - len(chosen))
    chosen |= _spread([k for k in range(len(dreams)) if k not in chosen], most - len(chosen))
    by_text: dict[str, list[Shown]] = {}
    for k in sorted(chosen):
        by_text.setdefault(dreams[k].told.instruction, []).append(dreams[k])
    rows = "".join(
        f"<section><h2>{escape(text)}</h2><div>{''.join(_card(staging, one, fps) for one in some)}</div></section>"
        for text, some in by_text.items()
    )
    settings = record["settings"]
    some = "" if len(chosen) == len(dreams) else f" {len(chosen)} of them are shown."
    title = escape(f"{record['accepted']} of {record['dreams']} dreams of {short_name(settings['dataset'])}")
    replayed = "" if settings["twin"] is None else ", replayed in the simulator"
    style, script = (
        resources.files("cosmos_sim.synthesis").joinpath("sheet", name).read_text(encoding="utf-8")
        for name in ("dreams.css", "dreams.js")
    )
    file.write_text(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{title}</title><link rel="icon" href="data:,"><style>\n{style}</style></head>\n'
        f"<body><header><h1>{title}</h1><p>Imagined by <b>{escape(short_name(settings['model']))}</b>, actions read by "
        f"<b>{escape(short_name(settings['labeller']))}</b>{replayed}. {len(record['failed'])} could not be made.{some}"
        '</p><p class="key"><i class="c0"></i>x <i class="c1"></i>y <i class="c2"></i>z. Above: the pseudo-actions, '
        "with a standard deviation of their draws. Below: the hand, as a world predicts it (solid) and as the "
        'simulator moved it under the same actions (dashed).</p><div class="controls">'
        '<label><input type="radio" name="which" value="" checked> all</label>'
        '<label><input type="radio" name="which" value="accepted"> accepted</label>'
        '<label><input type="radio" name="which" value="rejected"> rejected</label></div></header>'
        f"<main>{rows}</main>\n<script>\n{script}</script></body></html>\n",
        encoding="utf-8",
    )


def _spread(places: Sequence[int], most: int) -> set[int]:
    """``most`` of ``places``, evenly chosen."""
    if not places or most < 1:
        return set()
    return {places[k] for k in np.linspace(0, len(places) - 1, min(most, len(places))).round().astype(int)}


def _card(staging: Staging, one: Shown, fps: float) -> str:
    staged = staging.load(one.told.name)
    video = base64.b64encode(mp4(beside(staged.frames, height=128), fps=fps)).decode()
    kind = "rejected" if one.faults else "accepted"
    begun = one.told.start
    start = f"episode {begun.source_episode}" if begun.source_episode is not None else f"simulator's seed {begun.seed}"
    scores = "".join(f"<dt>{escape(name)}</dt><dd>{value:.3g}</dd>" for name, value in one.scores.items())
    why = "".join(f"<li>{escape(fault)}</li>" for fault in one.faults)
    return (
        f'<article class="{kind}"><video src="data:video/mp4;base64,{video}" muted loop playsinline controls></video>'
        f"{_charts(staged)}<p>{kind}; from {escape(start)}, seed {one.told.seed}</p>"
        f"<ul>{why}</ul><dl>{scores}</dl></article>"
    )


def _charts(staged: Staged) -> str:
    actions, wide = staged.action[:, :_AXES], staged.deviation[:, :_AXES]
    charts = [_chart("actions", [actions], band=wide)]
    solid = staged.state if staged.state_from == "world" else None
    hands = [None if states is None else states[:, :_AXES] for states in (solid, staged.replayed)]
    if any(hand is not None and hand.shape[1] for hand in hands):
        charts.append(_chart("hand", hands))
    return "".join(charts)


def _chart(
    name: str, curves: Sequence[Float32[ndarray, "t k"] | None], *, band: Float32[ndarray, "t k"] | None = None
) -> str:
    """Curves over time, each axis about its own first value; those of the second entry are dashed."""
    shown = [None if values is None else values - values[:1] for values in curves]
    if band is not None:
        shown = list(curves)
    everything = np.concatenate([values.ravel() for values in shown if values is not None])
    if band is not None and curves[0] is not None:
        everything = np.concatenate([(curves[0] + band).ravel(), (curves[0] - band).ravel()])
    low, high = float(everything.min()), float(everything.max())
    span = max(high - low, 1e-6)

    def points(values: ndarray) -> list[str]:
        x = _LEFT + np.linspace(0, 1, len(values)) * (_WIDTH - _LEFT - 2)
        y = 4 + (high - values) / span * (_HEIGHT - 8)
        return [f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True)]

    parts = [f'<text x="0" y="10">{high:.2g}</text><text x="0" y="{_HEIGHT - 2}">{low:.2g}</text>']
    for k, values in enumerate(shown):
        for axis in range(0 if values is None else values.shape[1]):
            assert values is not None
            if band is not None:
                ring = points(values[:, axis] + band[:, axis]) + points(values[:, axis] - band[:, axis])[::-1]
                parts.append(f'<polygon class="c{axis}" points="{" ".join(ring)}"/>')
            dashed = " dashed" if k else ""
            parts.append(f'<polyline class="c{axis}{dashed}" points="{" ".join(points(values[:, axis]))}"/>')
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{name}">{"".join(parts)}</svg>'
