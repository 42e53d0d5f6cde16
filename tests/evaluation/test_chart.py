"""Charts are read back as XML: every policy at its rates, with its intervals, under its family's mark."""

import re
from xml.etree import ElementTree

import pytest

from cosmos_sim.evaluation.chart import Point, scatter, standalone
from cosmos_sim.evaluation.report import Rate
from cosmos_sim.metrics.intervals import clopper_pearson

SVG = "{http://www.w3.org/2000/svg}"


def point(name: str, simulated: int, truth: int, family: str = "") -> Point:
    return Point(name, Rate.of(simulated, 20), Rate.of(truth, 20), family)


POINTS = [
    point("act 1", 3, 4, "act"),
    point("act 2", 18, 17, "act"),
    point("unet-7", 18, 17, "unet"),
    point("plain <3>", 12, 2, "mlp"),
]


@pytest.fixture
def drawing() -> ElementTree.Element:
    return ElementTree.fromstring(standalone(scatter(POINTS, world="a & b"), width=500))


def across(rate: float) -> float:
    """The plot's scale, from its grid: 46 to 326 pixels."""
    return 46 + 280 * rate


def test_points_lie_at_their_rates(drawing):
    circles = [one for one in drawing.iter(f"{SVG}circle") if one.find(f"{SVG}title") is not None]
    assert [float(one.get("cx")) for one in circles] == pytest.approx([across(4 / 20), across(17 / 20)], abs=0.06)
    heights = [float(one.get("cy")) for one in circles]
    assert heights[0] - heights[1] == pytest.approx(282 * 15 / 20, abs=0.11)
    assert circles[0].find(f"{SVG}title").text == "act 1: 15% in a & b, 20% in truth"


def test_bars_are_clopper_pearson(drawing):
    bars = [one for one in drawing.iter(f"{SVG}line") if one.get("class") == "bar truth of2"]
    (bar,) = bars
    interval = clopper_pearson(2, 20)
    ends = float(bar.get("x1")), float(bar.get("x2"))
    assert ends == pytest.approx((across(interval.low), across(interval.high)), abs=0.06)


def test_families_have_marks_and_a_legend_and_labels_leave_them_out(drawing):
    marks = [one.tag.removeprefix(SVG) for one in drawing.iter() if (one.get("class") or "").startswith("point")]
    assert marks == ["circle", "circle", "rect", "path", "circle", "rect", "path"]
    labels = [one for one in drawing.iter(f"{SVG}text") if one.get("class") == "name"]
    assert ["".join(one.itertext()) for one in labels] == ["1", "2, 7", "plain <3>"]
    assert [one.text for one in drawing.iter(f"{SVG}text") if one.get("class") == "family"] == ["act", "unet", "mlp"]
    assert [part.get("class") for part in labels[1]] == ["of0", "of1"]
    assert float(drawing.get("viewBox").split()[3]) > float(drawing.get("viewBox").split()[2])


def test_without_families_there_is_no_legend():
    drawing = ElementTree.fromstring(scatter([point("good", 19, 20), point("poor", 2, 1)], world="lift"))
    names = ["".join(one.itertext()) for one in drawing.iter("text") if one.get("class") == "name"]
    assert names == ["good", "poor"]
    width, height = drawing.get("viewBox").split()[2:]
    assert width == height


def test_labels_of_near_points_do_not_lie_on_each_other():
    near = [point(f"policy-{index}", 10 + index // 3, 10 + index % 3) for index in range(9)]
    drawing = ElementTree.fromstring(scatter(near, world="lift"))
    boxes = []
    for one in drawing.iter("text"):
        if one.get("class") == "name":
            x, y, width = float(one.get("x")), float(one.get("y")), 6.2 * len("".join(one.itertext()))
            left = x - width if one.get("text-anchor") == "end" else x
            boxes.append((left, y - 9, left + width, y + 2))
    shared = sum(
        max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
        for i, a in enumerate(boxes)
        for b in boxes[:i]
    )
    assert shared < 0.15 * sum((b[2] - b[0]) * (b[3] - b[1]) for b in boxes)


def test_the_file_needs_no_page():
    text = standalone(scatter(POINTS, world="lift"), width=500)
    assert not re.search(r"url\(|@import|var\(|https?://(?!www.w3.org/2000/svg)", text)
    assert 'width="500"' in text


def test_too_many_families_are_named():
    with pytest.raises(ValueError, match=r"at most 4 families.*'e'"):
        scatter([point(name, 1, 1, name) for name in "abcde"], world="lift")
