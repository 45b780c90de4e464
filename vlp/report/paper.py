"""The paper's tables with this experiment's numbers under the paper's own, or the reason why there are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vlp.methods import facts
from vlp.report import published, seeds
from vlp.report.results import Row

Grade = Literal["same", "protocol"]
GRADES: dict[Grade, str] = {
    "same": "same data, detector and protocol",
    "protocol": "same data and protocol, another detector",
}
SERVER = ("test-dev", "test-std")


@dataclass(frozen=True)
class Cell:
    published: float | None
    measured: Row | None
    grade: Grade | None
    reproduced: bool | None
    """Within the config's tolerance of the paper's number, or better; None: nothing is measured."""


@dataclass(frozen=True)
class Line:
    name: str
    cells: list[Cell]
    own: bool
    """A row of the method itself, which an experiment can reproduce."""

    @property
    def measured(self) -> bool:
        return any(cell.measured for cell in self.cells)


@dataclass(frozen=True)
class Table:
    number: str
    caption: str
    columns: list[Mapping[str, Any]]
    lines: list[Line]
    reasons: list[tuple[str, str]]
    """Why cells of the method's own rows are empty: columns and reason."""
    frequent: Mapping[str, Sequence[str]]


def tables(method: str, rows: Sequence[Row], detector: str | None, tolerances: Mapping[str, float]) -> list[Table]:
    """Every table of the method's paper.

    Args:
        rows: results.csv. A number stands beside the paper's only if task, data set, split, stage, metric and number of
            items are the same: a miniature never does. Of several seeds it is the mean.
        detector: name of the detector behind the regions; None: published features.
        tolerances: task (or rsum) -> points by which a reproduced number may fall short.
    """
    rows = seeds.fold(row for row in rows if row.variant == "full")
    ours = (*published.own(method), *published.tables(method).get("same", ()))
    found = []
    for table in published.tables(method)["tables"]:
        columns, reasons, lines = table["columns"], {}, []
        for name, values in table["rows"].items():
            own, prefix = name in ours, published.prefix(method, name)
            cells = []
            for column, value in zip(columns, values, strict=True):
                row = _measured(rows, column, prefix) if own and value is not None else None
                grade: Grade | None = None if row is None else _grade(method, detector)
                near = None if row is None or value is None else _near(row, value, tolerances)
                cells.append(Cell(value, row, grade, near))
                if own and row is None and value is not None:
                    reasons.setdefault(_reason(rows, column, prefix), []).append(column["name"])
            lines.append(Line(name, cells, own))
        shown = [(_named(names), reason) for reason, names in reasons.items()]
        found.append(Table(table["table"], table["caption"], columns, lines, shown, table.get("frequent", {})))
    return found


def _measured(rows: Sequence[Row], column: Mapping[str, Any], prefix: str) -> Row | None:
    for row in rows:
        same = all(getattr(row, key) == column[key] for key in ("task", "dataset", "split", "stage", "n"))
        if same and row.metric == prefix + column["metric"] and "merged" not in row.protocol:
            return row
    return None


def _grade(method: str, detector: str | None) -> Grade:
    theirs = facts.of(method).detector
    return "same" if theirs is None or (detector is not None and theirs in detector.lower()) else "protocol"


def _near(row: Row, value: float, tolerances: Mapping[str, float]) -> bool:
    return row.value >= value - tolerances.get("rsum" if row.metric.endswith("RSUM") else row.task, 0.0)


def _reason(rows: Sequence[Row], column: Mapping[str, Any], prefix: str) -> str:
    """The first thing that is missing for this cell."""
    if column["task"] == "phrases":
        return "see the phrases of this experiment below: they are of other texts than the paper's"
    task = [row for row in rows if row.task == column["task"]]
    if not task:
        return f"not run: this experiment has no {column['task']}"
    data = [row for row in task if row.dataset == column["dataset"]]
    if not data:
        return f"data absent: this experiment is on {_named(sorted({row.dataset for row in task}))}"
    if column["split"] in SERVER:
        return "only the evaluation server has the answers, and none of its results was recorded"
    split = [row for row in data if row.split == column["split"] and row.stage == column["stage"]]
    if not split:
        return f"not run on {column['split']} ({column['stage']})"
    other = [row for row in split if row.metric == prefix + column["metric"]]
    if other:
        return f"a part of the split: {other[0].n:,} items of {column['n']:,}"
    return "not measured by this protocol"


def _named(names: Sequence[str]) -> str:
    unique = list(dict.fromkeys(names))
    return unique[0] if len(unique) == 1 else f"{', '.join(unique[:-1])} and {unique[-1]}"
