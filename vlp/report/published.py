"""The numbers of the MVPTR paper, as data: each with its table, row and column (`published.json`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

OURS = {"mvptr": ("MVPTR", "MVPTR-Uni")}
"""Rows of the tables that a method of ours reproduces."""


@dataclass(frozen=True)
class Cell:
    table: str
    row: str
    task: str
    dataset: str
    split: str
    stage: str
    metric: str
    n: int | None
    """Items of the official split; None: only the evaluation server has the answers."""
    value: float


@cache
def tables() -> dict[str, Any]:
    return json.loads((Path(__file__).parents[1] / "methods/mvptr/published.json").read_text(encoding="utf-8"))


def table(number: str) -> dict[str, Any]:
    """`rows` (name -> metric -> value) and, where the paper names any, `frequent` (name -> phrases) of one table."""
    found = next(t for t in tables()["tables"] if t["table"] == number)
    metrics = [column["metric"] for column in found["columns"]]
    rows = {name: dict(zip(metrics, values, strict=True)) for name, values in found["rows"].items()}
    return {"rows": rows, "frequent": found.get("frequent", {})}


def cells() -> Iterator[Cell]:
    """Every printed number; the unimodal rows' metrics are called Uni-..."""
    for table in tables()["tables"]:
        for name, values in table["rows"].items():
            for column, value in zip(table["columns"], values, strict=True):
                if value is not None:
                    facts = {k: column[k] for k in ("task", "dataset", "split", "stage", "metric", "n")}
                    if name.endswith("-Uni"):
                        facts["metric"] = f"Uni-{facts['metric']}"
                    yield Cell(table=table["table"], row=name, value=value, **facts)


def is_main(protocol: str) -> bool:
    """Whether the papers' numbers are of this protocol: not the merged box, folds, or what no pruning would give."""
    return not any(word in protocol for word in ("merged", "folds", "all pairs"))


def find(
    task: str, dataset: str, split: str, stage: str, protocol: str, metric: str, n: int | None, method: str = "mvptr"
) -> float | None:
    """The paper's number for the same measurement; None where there is none, or where `n` is not the official split's.

    A miniature has other items, so it never stands beside the paper's number.
    """
    if not is_main(protocol):
        return None
    for cell in cells():
        same = (cell.task, cell.dataset, cell.split, cell.stage, cell.metric) == (task, dataset, split, stage, metric)
        if same and cell.row in OURS.get(method, ()) and cell.n == n:
            return cell.value
    return None
