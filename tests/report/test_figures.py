import itertools
import math
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp.report import figures

number = st.floats(-1e6, 1e6)


@given(number, number)
def test_ticks_hold_the_range_in_equal_round_steps(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    found = figures.ticks(low, high)
    slack = 1e-6 * max(1.0, abs(low), abs(high))
    assert found[0] <= low + slack and found[-1] >= high - slack
    assert 2 <= len(found) <= 9
    steps = [y - x for x, y in itertools.pairwise(found)]
    assert max(steps) == pytest.approx(min(steps), rel=1e-3)


@given(st.lists(st.tuples(st.integers(0, 1000), st.floats(-100, 100)), min_size=1, max_size=400))
def test_thinning_keeps_the_order_and_stays_within_the_values(points: list[tuple[int, float]]) -> None:
    found = figures.thin(points, bins=10)
    assert len(found) == min(len(points), 10)
    assert [x for x, _ in found] == sorted(x for x, _ in found)
    low, high = min(y for _, y in points), max(y for _, y in points)
    assert all(low - 1e-9 <= y <= high + 1e-9 for _, y in found)


def test_what_is_not_finite_is_left_out() -> None:
    assert figures.thin([(2, 1.0), (1, math.nan), (0, math.inf), (1, 3.0)]) == [(1.0, 3.0), (2.0, 1.0)]
    assert "no points" in figures.curves({"loss": [(1, math.nan)]})


def test_a_flat_line_and_a_single_point_can_be_seen() -> None:
    assert figures.ticks(0.0, 0.0) == [0.0, 0.25] and figures.ticks(3.0, 3.0) == [3.0, 4.0]
    (dot,) = ET.fromstring(figures.curves({"loss": [(5, 2.0)]})).iter("circle")
    assert float(dot.attrib["cx"]) > 0


def test_curves_are_wellformed_and_end_where_the_numbers_end() -> None:
    svg = figures.curves({"a<b": [(0, 0.0), (100, 4.0)], "c": [(0, 4.0), (100, 0.0)]})
    lines = [e for e in ET.fromstring(svg).iter("polyline")]
    assert len(lines) == 2
    first = [tuple(map(float, p.split(","))) for p in lines[0].attrib["points"].split()]
    second = [tuple(map(float, p.split(","))) for p in lines[1].attrib["points"].split()]
    assert first[0][1] == second[1][1] > first[1][1] == second[0][1]  # SVG counts down the page
    assert svg == figures.curves({"a<b": [(0, 0.0), (100, 4.0)], "c": [(0, 4.0), (100, 0.0)]})


def test_a_bar_shows_value_interval_chance_and_blind() -> None:
    parts = {
        e.attrib["class"]: e.attrib
        for e in ET.fromstring(figures.bar(25, 20, 30, 10, 150)).iter()
        if "class" in e.attrib
    }
    assert float(parts["fill"]["width"]) == 50
    assert (float(parts["interval"]["x1"]), float(parts["interval"]["x2"])) == (40, 60)
    assert float(parts["chance"]["x1"]) == 20 and float(parts["blind"]["x1"]) == 200
    assert set(p.attrib.get("class") for p in ET.fromstring(figures.bar(25)).iter()) == {"bar", "track", "fill"}


def test_boxes_stand_where_they_are_told() -> None:
    svg = ET.fromstring(figures.boxes("data:,", (100, 50), [([10, 20, 40, 30], 1, False), ([0, 0, 5, 5], 9, True)]))
    drawn = [e.attrib for e in svg.iter("rect") if "class" in e.attrib]
    assert [(d["x"], d["y"], d["width"], d["height"], d["class"]) for d in drawn] == [
        ("10.0", "20.0", "30.0", "10.0", "s1"),
        ("0.0", "0.0", "5.0", "5.0", "s1"),
    ]
    assert "stroke-dasharray" not in drawn[0] and "stroke-dasharray" in drawn[1]


def test_a_heat_map_has_a_cell_for_each_pair_and_the_largest_is_the_darkest() -> None:
    drawn = figures.heat(["man <young>", "shirt"], ["a", "b", "c"], [[0.1, 0.4, 0.5], [0.8, 0.2, 0.0]])
    cells = re.findall(r'class="cell"[^>]*fill-opacity="([\d.]+)"', drawn)
    assert [float(c) for c in cells] == [0.125, 0.5, 0.625, 1.0, 0.25, 0.0]
    assert "man &lt;young&gt;" in drawn and "man <young>" not in drawn
    assert figures.heat([], ["a"], []) == "" == figures.heat(["a"], [], [[]])


def test_names_in_a_scatter_do_not_cover_each_other() -> None:
    points = [
        {"name": "one", "kind": "tag", "x": 0.0, "y": 0.0},
        {"name": "two", "kind": "phrase", "x": 0.001, "y": 0.0},
    ]
    points += [{"name": "three", "kind": "tag", "x": 1.0, "y": 1.0}]
    drawn = figures.scatter(points, ("tag", "phrase"))
    assert drawn.count("<circle") == 3 and drawn.count("<title>") == 3
    assert ">one</text>" in drawn and ">two</text>" not in drawn and ">three</text>" in drawn
    assert figures.scatter([], ("tag",)) == ""
