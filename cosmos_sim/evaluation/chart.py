"""Small charts as inline SVG. Colours come from the page's style sheet, by class."""

from collections.abc import Sequence
from html import escape

from cosmos_sim.evaluation.report import Rate

_SIZE = 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 14, 44


def scatter(names: Sequence[str], simulated: Sequence[Rate], truth: Sequence[Rate], *, world: str) -> str:
    """Simulated over true rate, a point a policy, with both Clopper-Pearson intervals and the line of equality."""
    parts = [f'<svg class="scatter" viewBox="0 0 {_SIZE} {_SIZE}" role="img" aria-label="{escape(_told(names))}">']
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x, y = _x(tick), _y(tick)
        parts += [
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_y(0):.1f}" y2="{_y(1):.1f}"/>',
            f'<line class="grid" x1="{_x(0):.1f}" x2="{_x(1):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>',
            f'<text class="tick" x="{x:.1f}" y="{_y(0) + 17:.1f}" text-anchor="middle">{100 * tick:.0f}</text>',
            f'<text class="tick" x="{_x(0) - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{100 * tick:.0f}</text>',
        ]
    middle = (_x(0) + _x(1)) / 2
    parts += [
        f'<line class="equal" x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}"/>',
        f'<text class="axis" x="{middle:.1f}" y="{_SIZE - 6}" text-anchor="middle">true success rate, %</text>',
        f'<text class="axis" transform="translate(12 {middle:.1f}) rotate(-90)" text-anchor="middle">'
        f"success rate in {escape(world)}, %</text>",
    ]
    for imagined, true in zip(simulated, truth, strict=True):
        x, y = _x(true.rate), _y(imagined.rate)
        across, along = true.clopper_pearson, imagined.clopper_pearson
        parts += [
            f'<line class="bar truth" x1="{_x(across.low):.1f}" x2="{_x(across.high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>',
            f'<line class="bar world" x1="{x:.1f}" x2="{x:.1f}" y1="{_y(along.low):.1f}" y2="{_y(along.high):.1f}"/>',
        ]
    places: dict[tuple[float, float], list[str]] = {}
    for name, imagined, true in zip(names, simulated, truth, strict=True):
        places.setdefault((true.rate, imagined.rate), []).append(name)
    for (true_rate, imagined_rate), held in places.items():
        x, y, label = _x(true_rate), _y(imagined_rate), escape(", ".join(held))
        # A label goes where there is room: towards the middle of the chart.
        dx, anchor = (-9, "end") if true_rate > 0.6 else (9, "start")
        dy = 17 if imagined_rate > 0.9 else -8
        parts += [
            f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="4.5"><title>{label}: {100 * imagined_rate:.0f}% in '
            f"{escape(world)}, {100 * true_rate:.0f}% in truth</title></circle>",
            f'<text class="name" x="{x + dx:.1f}" y="{y + dy:.1f}" text-anchor="{anchor}">{label}</text>',
        ]
    return "".join(parts) + "</svg>"


def interval_bar(rate: Rate, kind: str) -> str:
    """A rate on a scale from 0 to 100% with its Clopper-Pearson interval; ``kind`` is ``world`` or ``truth``."""
    low, high = 100 * rate.clopper_pearson.low, 100 * rate.clopper_pearson.high
    ticks = "".join(f'<line class="grid" x1="{x}%" x2="{x}%" y1="4" y2="12"/>' for x in (0, 50, 100))
    return (
        f'<svg class="interval" aria-hidden="true"><line class="grid" x1="0%" x2="100%" y1="8" y2="8"/>{ticks}'
        f'<line class="bar {kind}" x1="{low:.1f}%" x2="{high:.1f}%" y1="8" y2="8"/>'
        f'<circle class="dot {kind}" cx="{100 * rate.rate:.1f}%" cy="8" r="4.5"/></svg>'
    )


def spark(probability: Sequence[float], steps: int) -> str:
    """The success head's probability over an episode, on a time axis of ``steps`` that the videos share."""
    points = " ".join(f"{index + 1},{1 - value:.3f}" for index, value in enumerate(probability))
    return (
        f'<svg class="spark" viewBox="0 -0.06 {steps} 1.12" preserveAspectRatio="none" role="img" '
        'aria-label="probability of success over time"><line class="half" x1="0" '
        f'x2="{steps}" y1="0.5" y2="0.5"/><polyline points="{points}"/></svg>'
    )


def _told(names: Sequence[str]) -> str:
    return f"simulated over true success rates of {', '.join(names)}"


def _x(rate: float) -> float:
    return _LEFT + rate * (_SIZE - _LEFT - _RIGHT)


def _y(rate: float) -> float:
    return _SIZE - _BOTTOM - rate * (_SIZE - _TOP - _BOTTOM)
