"""The divergence ledger of any method: its words, and what is wrong with a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from vlp.errors import InputError
from vlp.report import ledger
from vlp.report.ledger import Switch


def test_plain_words_have_no_marks() -> None:
    assert ledger.plain("in `a.yaml` ([log](log.md)); [CLS] stays") == "in a.yaml (log); [CLS] stays"


def test_a_switch_prints_readings_of_one_value_together() -> None:
    assert str(Switch("a.b", {"paper": None, "released": True, "ours": None})) == (
        "`a.b` (paper and ours null, released true)"
    )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"here": ""}, r"row A: lacks here\."),
        ({"tests": []}, r"row A: lacks tests\."),
        ({"reading": "mine"}, "row A: the reading 'mine' is none of"),
        ({"swich": []}, r"row A: has the unknown key swich\."),
        ({"paper": 5}, r"row A: paper: no text\. Put it in quotes"),
        ({"switches": [{"key": "seed", "papper": 1}]}, "row A: a switch has no reading papper"),
        (None, "row A: stands there twice"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, change: dict[str, Any] | None, problem: str) -> None:
    row = {"point": "A", "paper": "p", "released": "r", "here": "h", "reading": "ours", "tests": ["t.py::test_t"]}
    path = tmp_path / "ledger.yaml"
    path.write_text(yaml.safe_dump([{"group": "G", "rows": [row, row] if change is None else [{**row, **change}]}]))
    with pytest.raises(InputError, match=problem):
        ledger.load(path)
