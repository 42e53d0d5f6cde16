"""Small charts as inline SVG. Colours come from the page's style sheet, by class, or from one of the file's own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

from cosmos_sim.evaluation.report import Rate

_SIZE = 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 14, 44
_LEGEND_ROW = 18
_LETTER = 6.2
"""Width of a letter of a label, about."""

_MARKS = (
    '<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4.5">{title}</circle>',
    '<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="8" height="8" transform="translate(-4 -4)">{title}</rect>',
    '<path class="{kind}" d="M0-5.5 5.5 0 0 5.5-5.5 0Z" transform="translate({x:.1f} {y:.1f})">{title}</path>',
    '<path class="{kind}" d="M0-5.5 5.2 4-5.2 4Z" transform="translate({x:.1f} {y:.1f})">{title}</path>',
)


@dataclass(frozen=True)
class Point:
    """A policy in a scatter plot."""

    name: str
    simulated: Rate
    truth: Rate
    family: str = ""
    """Gives colour and mark, and is explained below the plot; its name is left out of labels."""

    @property
    def label(self) -> str:
        return self.name.removeprefix(self.family).lstrip("-_ ") or self.name


def scatter(points: Sequence[Point], *, world: str) -> str:
    """Simulated over true rate, a point a policy, with both Clopper-Pearson intervals and the line of equality.

    Raises :class:`ValueError` for more families than there are marks to tell them apart.
    """
    families = list(dict.fromkeys(point.family for point in points))
    if len(families) > len(_MARKS):
        raise ValueError(f"a scatter plot tells at most {len(_MARKS)} families apart, got {families}")
    legend = families if any(families) else []
    height = _SIZE + _LEGEND_ROW * len(legend)
    told = escape(f"simulated over true success rates of {', '.join(point.name for point in points)}")
    parts = [f'<svg class="scatter" viewBox="0 0 {_SIZE} {height}" role="img" aria-label="{told}">', *_frame(world)]
    for point in points:
        kind = families.index(point.family)
        x, y = _x(point.truth.rate), _y(point.simulated.rate)
        across, along = point.truth.clopper_pearson, point.simulated.clopper_pearson
        parts += [
            f'<line class="bar truth of{kind}" x1="{_x(across.low):.1f}" x2="{_x(across.high):.1f}" '
            f'y1="{y:.1f}" y2="{y:.1f}"/>',
            f'<line class="bar world of{kind}" x1="{x:.1f}" x2="{x:.1f}" '
            f'y1="{_y(along.low):.1f}" y2="{_y(along.high):.1f}"/>',
        ]
    marks, labels = _marks(points, families, world), _labels(points, families)
    for row, family in enumerate(legend):
        y = _SIZE + _LEGEND_ROW * row + 6
        marks.append(_MARKS[row].format(kind=f"point of{row}", x=_LEFT + 6, y=y, title=""))
        labels.append(f'<text class="family" x="{_LEFT + 18}" y="{y + 4}">{escape(family)}</text>')
    return "".join([*parts, *marks, *labels]) + "</svg>"


def standalone(chart: str, *, width: int) -> str:
    """A scatter plot as a file of its own, ``width`` pixels wide, which needs no page around it."""
    style = resources.files("cosmos_sim.evaluation").joinpath("page", "scatter.css").read_text(encoding="utf-8")
    start, _, rest = chart.partition(">")
    start = start.replace("<svg", f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}"')
    return f'{start}><style>{style}</style><rect class="paper" width="100%" height="100%"/>{rest}\n'


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


def _frame(world: str) -> Iterator[str]:
    """The grid, the axes and the line of equality."""
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x, y = _x(tick), _y(tick)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_y(0):.1f}" y2="{_y(1):.1f}"/>'
        yield f'<line class="grid" x1="{_x(0):.1f}" x2="{_x(1):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="tick" x="{x:.1f}" y="{_y(0) + 17:.1f}" text-anchor="middle">{100 * tick:.0f}</text>'
        yield f'<text class="tick" x="{_x(0) - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{100 * tick:.0f}</text>'
    middle = (_x(0) + _x(1)) / 2
    yield f'<line class="equal" x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}"/>'
    yield f'<text class="axis" x="{middle:.1f}" y="{_y(0) + 36}" text-anchor="middle">true success rate, %</text>'
    yield (
        f'<text class="axis" transform="translate(12 {middle:.1f}) rotate(-90)" text-anchor="middle">'
        f"success rate in {escape(world)}, %</text>"
    )


def _marks(points: Sequence[Point], families: Sequence[str], world: str) -> list[str]:
    marks = []
    for point in points:
        told = f"{100 * point.simulated.rate:.0f}% in {world}, {100 * point.truth.rate:.0f}% in truth"
        title = f"<title>{escape(point.name)}: {escape(told)}</title>"
        x, y, kind = _x(point.truth.rate), _y(point.simulated.rate), families.index(point.family)
        marks.append(_MARKS[kind].format(kind=f"point of{kind}", x=x, y=y, title=title))
    return marks


def _labels(points: Sequence[Point], families: Sequence[str]) -> list[str]:
    """A label beside each place that holds points, where it meets the fewest other labels and points.

    Of marks in one place only the last shows: the label has each point's colour.
    """
    places: dict[tuple[float, float], list[Point]] = {}
    for point in points:
        places.setdefault((_x(point.truth.rate), _y(point.simulated.rate)), []).append(point)
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in places]
    labels = []
    for (x, y), held in places.items():
        width = _LETTER * len(", ".join(point.label for point in held))
        text = ", ".join(
            f'<tspan class="of{families.index(point.family)}">{escape(point.label)}</tspan>' for point in held
        )
        choices = [
            (x + dx, y + dy, anchor) for dy in (-5, 13, 4, -12, 20) for dx, anchor in ((7, "start"), (-7, "end"))
        ]
        boxes = [
            (at - width * (anchor == "end"), base - 9, at + width * (anchor == "start"), base + 2)
            for at, base, anchor in choices
        ]
        costs = [sum(_overlap(box, other) for other in taken) + _outside(box) for box in boxes]
        best = costs.index(min(costs))
        taken.append(boxes[best])
        at, base, anchor = choices[best]
        labels.append(f'<text class="name" x="{at:.1f}" y="{base:.1f}" text-anchor="{anchor}">{text}</text>')
    return labels


Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def _overlap(one: Box, other: Box) -> float:
    """The area that two boxes share."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return max(across, 0) * max(down, 0)


def _outside(box: Box) -> float:
    """The area of a box that is outside the plot."""
    inside = (_x(0), _y(1) - _TOP, _x(1) + _RIGHT, _y(0))
    return (box[2] - box[0]) * (box[3] - box[1]) - _overlap(box, inside)


def _x(rate: float) -> float:
    return _LEFT + rate * (_SIZE - _LEFT - _RIGHT)


def _y(rate: float) -> float:
    return _SIZE - _BOTTOM - rate * (_SIZE - _TOP - _BOTTOM)
