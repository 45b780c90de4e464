import re
from dataclasses import replace

import pytest

from vlp.report import paper
from vlp.report.results import Row

ROW = Row(
    method="mvptr",
    variant="full",
    stage="fine-tuned",
    task="retrieval",
    dataset="coco",
    split="test",
    protocol="re-ranked k_c=128 k_i=64",
    metric="TR@1",
    value=76.5,
    ci_low=None,
    ci_high=None,
    chance=None,
    blind=None,
    published=77.3,
    n=5000,
    seed=0,
    checkpoint_sha256="",
    data_sha256="",
)


NONE: dict[str, float] = dict.fromkeys(("retrieval", "rsum", "vqa", "entailment", "grounding"), 0.0)


def _first(rows: list[Row], detector: str | None = "vinvl", **tolerances: float) -> tuple[paper.Cell, str]:
    """The cell TR@1 of the row MVPTR of Table 1, and why it is empty."""
    table = paper.tables("mvptr", rows, detector, NONE | tolerances)[0]
    line = next(line for line in table.lines if line.name == "MVPTR")
    reasons = [reason for names, reason in table.reasons if "TR@1" in re.split(", | and ", names)]
    return line.cells[0], reasons[0] if reasons else ""


def test_a_number_of_the_same_measurement_stands_under_the_papers() -> None:
    cell, reason = _first([ROW], retrieval=1.0)
    assert (cell.published, cell.measured, cell.grade, cell.reproduced, reason) == (77.3, ROW, "same", True, "")
    assert _first([ROW], None)[0].grade == "protocol"
    assert _first([ROW], "small", retrieval=0.7)[0].reproduced is False
    assert _first([replace(ROW, value=80.0)])[0].reproduced is True


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"n": 247}, "a part of the split: 247 items of 5,000"),
        ({"dataset": "shapes"}, "data absent: this experiment is on shapes"),
        ({"split": "val"}, "not run on test (fine-tuned)"),
        ({"metric": "TR@7"}, "not measured by this protocol"),
        ({"task": "vqa"}, "not run: this experiment has no retrieval"),
        ({"variant": "blind"}, "not run: this experiment has no retrieval"),
    ],
)
def test_an_empty_cell_says_why(change: dict[str, object], reason: str) -> None:
    cell, why = _first([replace(ROW, **change)])  # pyright: ignore[reportArgumentType]
    assert cell.measured is None and cell.reproduced is None
    assert why == reason


def test_unimodal_and_servers_rows() -> None:
    uni = replace(ROW, metric="Uni-TR@1", dataset="flickr30k", n=1000, value=88.0)
    found = {table.number: table for table in paper.tables("mvptr", [uni], "vinvl", NONE)}
    lines = {line.name: line for line in found["2"].lines}
    assert lines["MVPTR-Uni"].cells[0].measured == uni and lines["MVPTR"].cells[0].measured is None
    vqa = replace(ROW, task="vqa", metric="accuracy", split="val")
    seven = next(t for t in paper.tables("mvptr", [vqa], "vinvl", NONE) if t.number == "7")
    assert "evaluation server" in seven.reasons[0][1]


def test_every_table_of_the_paper_is_there_and_other_methods_rows_are_never_measured() -> None:
    found = paper.tables("mvptr", [ROW], "vinvl", NONE)
    assert [table.number for table in found] == list("12345678")
    assert not any(cell.measured for table in found for line in table.lines if not line.own for cell in line.cells)
