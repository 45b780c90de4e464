"""The sweep's table: means, spread, paired differences with Student's intervals."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from vlp.errors import InputError
from vlp.report import results, sweep
from vlp.report.results import Row

ROW = Row(
    "mvptr", "full", "fine-tuned", "retrieval", "shapes", "test", "re-ranked", "RSUM", 100.0,
    None, None, None, None, None, 10, 1, "", "",
)  # fmt: skip


def write(folder: Path, run: str, value: float) -> None:
    rows = [replace(ROW, value=value), replace(ROW, task="vqa", metric="accuracy", value=value / 10)]
    rows += [replace(ROW, task="vqa", metric="accuracy", variant="blind", value=99.0)]
    results.write(folder / run / "results.csv", rows)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=8))
def test_the_interval_is_students(values: list[float]) -> None:
    low, high = sweep.t_interval(values) or (0.0, 0.0)
    if np.ptp(values) > 1e-6:
        wanted = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
        assert (low, high) == pytest.approx((wanted.low, wanted.high), rel=1e-9, abs=1e-9)
    assert low <= np.mean(values) + 1e-9 and high >= np.mean(values) - 1e-9
    assert sweep.t_interval(values[:1]) is None


def test_differences_are_paired_by_seed(tmp_path: Path) -> None:
    """The seeds lie far apart, the rows do not: only pairs show that."""
    for run, value in (("f1", 100.0), ("f2", 300.0), ("f3", 200.0), ("w1", 99.0), ("w2", 298.0), ("w3", 197.0)):
        write(tmp_path, run, value)
    runs = {"full": {1: "f1", 2: "f2", 3: "f3"}, "- WPG": {1: "w1", 2: "w2", 3: "w3"}}
    published = {"full": {"RSUM": 502.6}, "- WPG": {"RSUM": 500.0}}
    cells = sweep.collect(tmp_path, runs, "full", published)
    without = next(c for c in cells if c.row == "- WPG" and c.metric == "RSUM")
    assert (without.seeds, without.mean, without.sd) == (3, 198.0, pytest.approx(99.503769, abs=1e-5))
    assert without.difference == pytest.approx(-2.0)
    assert without.low == pytest.approx(-4.484138, abs=1e-5) and without.high == pytest.approx(0.484138, abs=1e-5)
    assert without.published == 500.0 and without.published_difference == pytest.approx(-2.6)
    control = next(c for c in cells if c.row == "full" and c.metric == "RSUM")
    assert control.difference is None and control.low is None
    assert {c.metric: c.mean for c in cells if c.row == "full"} == {
        "RSUM": 200.0,
        "accuracy": 20.0,
    }  # not the blind one

    sweep.write(tmp_path / "sweep.csv", cells)
    with (tmp_path / "sweep.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(cells) and float(lines[0]["mean"]) == cells[0].mean
    page = sweep.html("t", "full", {**runs, "again": runs["full"]}, cells)
    assert "198.00" in page and "\u22122.00" in page and "the runs of &ldquo;full&rdquo;" in page
    assert "http" not in page


def test_one_seed_gives_no_interval_and_a_missing_run_is_named(tmp_path: Path) -> None:
    write(tmp_path, "f1", 100.0)
    write(tmp_path, "w1", 90.0)
    cells = sweep.collect(tmp_path, {"full": {1: "f1"}, "w": {1: "w1"}}, "full", {})
    one = next(c for c in cells if c.row == "w" and c.metric == "RSUM")
    assert (one.sd, one.difference, one.low) == (None, -10.0, None)
    with pytest.raises(InputError, match=r"w2/results.csv: the run has no results"):
        sweep.collect(tmp_path, {"full": {1: "f1"}, "w": {1: "w2"}}, "full", {})
