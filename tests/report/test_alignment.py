"""The chart of alignment: all stages end to end, beside chance."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from tests.report.fabricate import config
from vlp.config import Experiment
from vlp.report import alignment, figures
from vlp.tracking.journal import Journal

LEVEL = {"truth": "annotated boxes", "n": 9, "chance": 25.0, "best": 80.0}


def training(made: Experiment, stage: str, values: dict[str, list[float]]) -> None:
    """Every level's values, two steps apart; the loss of the last step besides."""
    journal = Journal(made.folder / "runs" / stage / "journal.jsonl")
    journal.write("alignment", images=5, levels=dict.fromkeys(values, LEVEL))
    for name, found in values.items():
        for i, value in enumerate(found):
            journal.metrics(2 * i, {f"alignment/{name}": value, "loss": 1.0})
    journal.close()


def lines(svg: str) -> dict[str, list[tuple[float, float]]]:
    """Class -> its points, of lines and of levels."""
    found: dict[str, Any] = {}
    for e in ET.fromstring(svg).iter():
        if e.tag == "polyline":
            found[e.attrib["class"]] = [tuple(map(float, p.split(","))) for p in e.attrib["points"].split()]
        elif e.tag == "line" and e.attrib["class"] != "grid":
            found[e.attrib["class"]] = [(float(e.attrib[f"x{i}"]), float(e.attrib[f"y{i}"])) for i in (1, 2)]
    return found


def test_stages_follow_each_other_in_one_chart(tmp_path: Path) -> None:
    made = config(tmp_path)
    training(made, "stage1", {"region_tag": [10.0, 20.0, 30.0]})
    training(made, "stage2", {"region_tag": [30.0, 50.0], "itm": [50.0, 75.0]})
    images, (tags, texts) = alignment.charts(made)
    assert images == 5 and tags.title == "Tags and regions" and texts.names == ("pairs told right by ITM",)
    drawn = lines(tags.figure)
    x = [point[0] for point in drawn["line c0"]]
    # Steps 0, 2, 4 of stage 1, then 0, 2 of stage 2, which begins where stage 1 ended.
    assert x[3] == x[2] and x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.2) == pytest.approx(x[4] - x[3], abs=0.2)
    assert drawn["mark"][0][0] == x[2] and "stage 1" in tags.figure and "stage 2" in tags.figure
    assert drawn["level c0"][0][0] == x[0] and drawn["level c0"][1][0] == x[4]
    y = dict(zip((10.0, 20.0, 30.0), (point[1] for point in drawn["line c0"]), strict=False))
    assert y[20.0] > drawn["level c0"][0][1] > y[30.0]  # SVG counts down the page
    assert tags.notes == ("from 10.0 to 50.0; chance 25.0, at best 80.0; 9 by annotated boxes",)
    assert lines(texts.figure)["line c0"][0][0] == x[2]


def test_a_killed_training_counts_each_step_once(tmp_path: Path) -> None:
    made = config(tmp_path)
    training(made, "stage1", {"itm": [50.0, 60.0]})
    with (made.folder / "runs" / "stage1" / "journal.jsonl").open("a") as file:
        file.write('{"event": "metric", "key": "alignment/itm", "step": 2, "value": 70.0, "time": 1.0}\n')
    _, (chart,) = alignment.charts(made)
    assert len(lines(chart.figure)["line c0"]) == 2 and "to 70.0" in chart.notes[0]


def test_nothing_measured_is_nothing_drawn(tmp_path: Path) -> None:
    assert alignment.charts(config(tmp_path)) == (0, [])


def test_the_axis_holds_what_it_is_told() -> None:
    low, high = (figures.curves({"a": [(0, 1.0), (9, 2.0)]}, most=most) for most in (None, 100))
    assert ">100<" not in low and ">100<" in high
