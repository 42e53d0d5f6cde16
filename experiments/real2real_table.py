"""What real2real.py reports: rates with intervals, tests on the same trials, a table and a figure."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from cosmos_sim.metrics.intervals import clopper_pearson, mcnemar_exact

Verdicts = Mapping[str, Bool[ndarray, "k c n"]]
"""Arm to the success of ``k`` policies in ``c`` scenes from ``n`` starts, in the same order for all arms."""

TOTAL = "total"
UNSEEN = "unseen scenes"

_COLOURS = ("#7a7a7a", "#2a63a6", "#c2571a", "#1a7a57", "#7d4fa3", "#b3902a", "#3f9fb8", "#a83254")
_LEFT, _TOP, _HEIGHT, _BAR, _GAP, _FOOT = 46, 34, 210, 15, 18, 66


def figures(verdicts: Verdicts, scenes: Sequence[str], *, seen: int = 1) -> dict[str, Any]:
    """Rates of every arm in every scene, in all and in all but the first ``seen``, and every two arms against each
    other.

    The tests pair trials of the same scene, start and number of policy. They take trials as independent, which those
    of one policy are not quite: the totals of each policy by itself tell whether the seeds of training agree.
    """
    if not scenes:
        raise ValueError("a scene is needed, got none")
    first = next(iter(verdicts.values()))
    if any(found.shape != first.shape for found in verdicts.values()) or first.shape[1] != len(scenes):
        raise ValueError(f"arms must have one shape (k, {len(scenes)}, n), got {[v.shape for v in verdicts.values()]}")
    arms = {
        arm: {
            "scenes": {scene: rate(found[:, k]) for k, scene in enumerate(scenes)},
            TOTAL: rate(found),
            **({UNSEEN: rate(found[:, seen:])} if seen < len(scenes) else {}),
            "policies": [rate(policy) for policy in found],
        }
        for arm, found in verdicts.items()
    }
    names = list(verdicts)
    pairs = [(b, a) for k, a in enumerate(names) for b in names[k + 1 :]]
    against = {"arms": arms, "paired": {f"{a} over {b}": paired(verdicts[a], verdicts[b]) for a, b in pairs}}
    if seen < len(scenes):
        unseen = {f"{a} over {b}": paired(verdicts[a][:, seen:], verdicts[b][:, seen:]) for a, b in pairs}
        against["paired, unseen scenes"] = unseen
    return against


def rate(verdicts: Bool[ndarray, "..."]) -> dict[str, Any]:
    """Successes, trials, their ratio and its 95% Clopper-Pearson interval."""
    successes, trials = int(verdicts.sum()), int(verdicts.size)
    interval = clopper_pearson(successes, trials)
    return {
        "successes": successes,
        "trials": trials,
        "rate": successes / trials,
        "low": interval.low,
        "high": interval.high,
    }


def paired(first: Bool[ndarray, "..."], second: Bool[ndarray, "..."]) -> dict[str, Any]:
    """McNemar's exact test on trials that both arms had."""
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    return {
        "only first": only_first,
        "only second": only_second,
        "difference": float(first.mean() - second.mean()),
        "p": mcnemar_exact(only_first, only_second),
    }


def table(found: Mapping[str, Any], scenes: Sequence[str]) -> str:
    """Markdown: an arm a row, a scene a column where there are several, then the total with its interval; then the
    tests."""
    shown = scenes if len(scenes) > 1 else ()
    lines = [
        "| | " + "".join(f"{_called(scene)} | " for scene in shown) + "total | 95% |",
        "|---|" + "--:|" * (len(shown) + 2),
    ]
    for arm, row in found["arms"].items():
        cells = "".join(f"{_share(row['scenes'][scene])} | " for scene in shown)
        total = row[TOTAL]
        lines.append(f"| {arm} | {cells}{_share(total)} | {100 * total['low']:.0f}-{100 * total['high']:.0f}% |")
    lines.append("")
    for name, test in found["paired"].items():
        lines.append(
            f"- {name}: {100 * test['difference']:+.1f} points, {test['only first']} trials against "
            f"{test['only second']}, McNemar's exact p = {test['p']:.2g}"
        )
    for arm, row in found["arms"].items():
        lines.append(f"- {arm}, policy by policy: {', '.join(_share(policy) for policy in row['policies'])}")
    return "\n".join(lines)


def chart(found: Mapping[str, Any], scenes: Sequence[str]) -> str:
    """Rates of all arms in each of several scenes and in total as bars with their intervals, an SVG file of its own."""
    arms = list(found["arms"])
    groups = (*scenes, TOTAL) if len(scenes) > 1 else (TOTAL,)
    group = _BAR * len(arms) + _GAP
    foot = max(_FOOT, 20 + round(3.6 * max(len(_called(name)) for name in groups)))
    width = max(_LEFT + group * len(groups) + _GAP, _LEFT + 110 * len(arms))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_TOP + _HEIGHT + foot}" role="img" '
        'font-family="system-ui, sans-serif" font-size="11">',
        "<title>Success of policies in the simulator by scene, with 95% intervals</title>",
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for tick in (0, 25, 50, 75, 100):
        y = _y(tick / 100)
        parts.append(f'<line x1="{_LEFT}" x2="{width - _GAP}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e6e6e6"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#666">{tick}%</text>')
    for k, arm in enumerate(arms):
        x = _LEFT + 110 * k
        parts.append(f'<rect x="{x}" y="10" width="11" height="11" fill="{_colour(k)}"/>')
        parts.append(f'<text x="{x + 16}" y="20" fill="#222">{escape(arm)}</text>')
    for column, scene in enumerate(groups):
        left = _LEFT + _GAP / 2 + group * column
        parts += _group(found, scene, arms, left)
        middle, name = left + _BAR * len(arms) / 2, escape(_called(scene))
        parts.append(
            f'<text transform="translate({middle + 4:.1f} {_y(0) + 12:.1f}) rotate(-35)" text-anchor="end" '
            f'fill="#222"{" font-weight=" + chr(34) + "700" + chr(34) if scene == TOTAL else ""}>{name}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _group(found: Mapping[str, Any], scene: str, arms: Sequence[str], left: float) -> Iterator[str]:
    for k, arm in enumerate(arms):
        row = found["arms"][arm]
        told = row[TOTAL] if scene == TOTAL else row["scenes"][scene]
        x, top, middle = left + _BAR * k, _y(told["rate"]), left + _BAR * (k + 0.5)
        title = escape(f"{arm}, {_called(scene)}: {_share(told)}")
        yield (
            f'<rect x="{x + 1:.1f}" y="{top:.1f}" width="{_BAR - 2}" height="{_y(0) - top:.1f}" fill="{_colour(k)}">'
            f"<title>{title}</title></rect>"
        )
        yield (
            f'<line x1="{middle:.1f}" x2="{middle:.1f}" y1="{_y(told["low"]):.1f}" y2="{_y(told["high"]):.1f}" '
            'stroke="#222" stroke-opacity="0.6"/>'
        )


def _share(told: Mapping[str, Any]) -> str:
    return f"{told['successes']}/{told['trials']}"


def _called(scene: str) -> str:
    return scene.replace("_", " ")


def _colour(index: int) -> str:
    return _COLOURS[index % len(_COLOURS)]


def _y(rate: float) -> float:
    return _TOP + _HEIGHT * (1 - float(np.clip(rate, 0, 1)))
