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


def test_a_repeated_box_stands_inside_the_one_before() -> None:
    box = [10, 20, 40, 50]
    drawn = figures.boxes("data:,", (130, 50), [(box, 0, False), (box, 1, False), (box, 1, True)])
    sides = [float(e.attrib["width"]) for e in ET.fromstring(drawn).iter("rect") if "class" in e.attrib]
    assert sides == [30, pytest.approx(30 - 2 * 1.9, abs=0.1), 30]  # the true box stands where it is
    many = figures.boxes("data:,", (130, 50), [([0, 0, 4, 4], n, False) for n in range(9)])
    assert min(float(e.attrib["width"]) for e in ET.fromstring(many).iter("rect") if "class" in e.attrib) >= 2


def _point(name: str, kind: str, tag: str, x: float, y: float) -> dict[str, object]:
    return {"name": name, "kind": kind, "tag": tag, "x": x, "y": y}


def test_a_scatter_marks_tags_and_their_phrases_in_one_colour() -> None:
    points = [_point("man", "tag", "man", 0, 0), _point("man <young>", "attribute", "man", 0.2, 0.3)]
    points += [_point("car", "tag", "car", 1, 1), _point("car on road", "relation", "car", 0.8, 0.6)]
    tree = ET.fromstring(figures.scatter(points))
    triangles, circles = list(tree.iter("path")), list(tree.iter("circle"))
    assert [e.attrib["class"] for e in triangles] == ["p1", "p0"] and [e.attrib["class"] for e in circles] == [
        "p1",
        "p0",
    ]
    assert circles[0][0].text == "car on road (relation, with car)" and triangles[1][0].text == "man"
    texts = [(e.text, e.attrib["class"]) for e in tree.iter("text")]
    assert texts[:2] == [("man", "name"), ("car", "name")] and ("man <young>", "tick") in texts
    assert figures.scatter([]) == ""


@pytest.mark.parametrize("size", [(900, 600), figures.NARROW])
def test_every_tag_has_its_name_and_no_phrase_is_written_over_another(size: tuple[int, int]) -> None:
    points = [_point(f"tag {t}", "tag", f"tag {t}", t, 0.0) for t in range(4)]
    points += [
        _point(f"tag {t} part {k}", "attribute", f"tag {t}", t + k / 50, 0.1) for t in range(4) for k in range(9)
    ]
    drawn = [e for e in ET.fromstring(figures.scatter(points, size)).iter("text")]
    assert sum(e.attrib["class"] == "name" for e in drawn) == 4 and 4 < len(drawn) < len(points)
    for a, b in itertools.combinations([e for e in drawn if e.attrib["class"] == "tick"], 2):
        apart = [abs(float(a.attrib[axis]) - float(b.attrib[axis])) for axis in "xy"]
        assert apart[1] >= 15 or apart[0] > 6.2 * 12 / 2
