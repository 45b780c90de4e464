"""The numbers of a method's paper, as data: each with its table, row and column (`published.json` of its folder).

`own` names the rows of the method itself; `same` those that the same model has in tables of variants; `prefixes`: end
of a row's name -> what its metrics are called here in front.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from vlp.files import read_json
from vlp.methods import facts


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
def tables(method: str) -> dict[str, Any]:
    """The whole file; `tables` is empty where the method has none."""
    path = facts.file(method, "published.json")
    return {"tables": []} if path is None else read_json(path)


def table(method: str, number: str) -> dict[str, Any]:
    """`rows` (name -> metric -> value) and, where the paper names any, `frequent` (name -> phrases) of one table; both
    empty where the paper has no such table.
    """
    found = next((t for t in tables(method)["tables"] if t["table"] == number), {"columns": [], "rows": {}})
    metrics = [column["metric"] for column in found["columns"]]
    rows = {name: dict(zip(metrics, values, strict=True)) for name, values in found["rows"].items()}
    return {"rows": rows, "frequent": found.get("frequent", {})}


def own(method: str) -> tuple[str, ...]:
    """Rows of the tables that are the method's own."""
    return tuple(tables(method).get("own", ()))


def prefix(method: str, row: str) -> str:
    """What the metrics of a row are called in front."""
    ends = tables(method).get("prefixes", {})
    return next((front for end, front in ends.items() if row.endswith(end)), "")


def cells(method: str) -> Iterator[Cell]:
    """Every printed number."""
    for table in tables(method)["tables"]:
        for name, values in table["rows"].items():
            for column, value in zip(table["columns"], values, strict=True):
                if value is not None:
                    said = {k: column[k] for k in ("task", "dataset", "split", "stage", "metric", "n")}
                    said["metric"] = prefix(method, name) + said["metric"]
                    yield Cell(table=table["table"], row=name, value=value, **said)


def is_main(protocol: str) -> bool:
    """Whether the papers' numbers are of this protocol: not the merged box, folds, or what no pruning would give."""
    return not any(word in protocol for word in ("merged", "folds", "all pairs"))


def find(
    method: str, task: str, dataset: str, split: str, stage: str, protocol: str, metric: str, n: int | None
) -> float | None:
    """The paper's number for the same measurement; None where there is none, or where `n` is not the official split's.

    A miniature has other items, so it never stands beside the paper's number.
    """
    if not is_main(protocol):
        return None
    for cell in cells(method):
        same = (cell.task, cell.dataset, cell.split, cell.stage, cell.metric) == (task, dataset, split, stage, metric)
        if same and cell.row in own(method) and cell.n == n:
            return cell.value
    return None
