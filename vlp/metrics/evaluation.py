"""Predictions -> measures: every number with its interval, what guessing gets, and how many items it is over.

Shares are in percent, as the papers print them. Each task's module says how.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from vlp.config.tasks import facts, known
from vlp.data.tables import SCHEMAS
from vlp.errors import InputError
from vlp.finite import bad, said
from vlp.metrics import cells, items, rankings
from vlp.metrics.measure import REMEDY, Evaluated, Measure

if TYPE_CHECKING:
    import pyarrow as pa

    from vlp.regions.store import RegionStore

COLUMNS = {name: facts.columns for name, facts in known().items()}


def read_predictions(path: str | Path, task: str) -> pa.Table:
    """Raises InputError: the file is missing, damaged, empty, lacks a column of the contract, or has a number that is
    not finite: it was made by a choice among such numbers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    if not path.exists():
        raise InputError(path, "the predictions are missing.", REMEDY)
    try:
        table = pq.read_table(path)
        names = table.column_names
    except (pa.ArrowInvalid, OSError, UnicodeError) as error:  # the last: a column's name
        raise InputError(path, f"not a whole Parquet file ({error}).", REMEDY) from error
    lacking = [name for name in COLUMNS[task] if name not in names]
    if lacking:
        raise InputError(path, f"lacks the column {', '.join(lacking)}.", REMEDY)
    if not table.num_rows:
        raise InputError(path, "holds no row.", REMEDY)
    _demand_finite(path, table)
    return table


def _demand_finite(path: Path, table: pa.Table) -> None:
    """Of every column of floats, also in lists; what is null is no number."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for name in table.column_names:
        column = table[name]
        while pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            column = pc.list_flatten(column)  # pyright: ignore
        if pa.types.is_floating(column.type) and (count := bad(column.drop_null().to_numpy())):
            problem = f"{name}: {said(count, len(column))}."
            raise InputError(path, problem, REMEDY, row=_first_bad(table, name))


def _first_bad(table: pa.Table, name: str) -> str:
    """The id of the first row whose `name` has a number that is not finite."""
    import pyarrow as pa

    def spoilt(value: Any) -> bool:
        if isinstance(value, list):
            return any(map(spoilt, value))
        return isinstance(value, float) and not math.isfinite(value)

    at = next(i for i, value in enumerate(table[name].to_pylist()) if spoilt(value))
    keys = [n for n in table.column_names if n.endswith("_id") and pa.types.is_string(table[n].type)]
    return " ".join(str(table[n][at].as_py()) for n in keys[:2])


def demand_whole(path: Path, predictions: pa.Table, task: str, tables: Path) -> None:
    """
    Args:
        path: of the predictions, for the message.
        tables: that give the truth.

    Raises:
        InputError: items are missing, doubled or foreign, the tables are others than the predictions were made with, or
            a cell holds nothing, or nothing that can be computed with. The items are named.
    """
    found = facts(task)
    key = SCHEMAS[found.table].names[0]
    ranks = set(items.PAIRS) <= set(found.columns)
    told = items.said(path, predictions)
    if key not in found.columns and not ranks:  # a task of elsewhere, of whose rows nothing is known
        items.demand_rows(path, told, predictions.num_rows)
        return
    names = predictions[items.PAIRS[0] if ranks else key]
    ids = cells.texts(path, names, items.PAIRS[0] if ranks else key)
    cells.demand_filled(path, predictions, found, ids)
    cells.demand_kinds(path, predictions, found, ids)
    truth = items.Truth(found, tables)
    if ranks:
        rankings.demand_whole(path, predictions, told, truth)
        return
    items.demand_once(path, ids)
    items.demand_whole(path, told, ids, truth)
    items.demand_rows(path, told, predictions.num_rows)
    cells.demand_truth(path, predictions, found, ids, truth)


def task_of(path: str | Path) -> str:
    """The task whose columns a predictions file has.

    Raises:
        InputError: the file cannot be read, or is of no task.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = set(pq.read_schema(path).names)
    except FileNotFoundError as error:
        raise InputError(path, "the predictions are missing.", REMEDY) from error
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(path, f"not a whole Parquet file ({error}).", REMEDY) from error
    for task, columns in COLUMNS.items():
        if names.issuperset(columns):
            return task
    raise InputError(path, f"has the columns of no task ({', '.join(sorted(names))}).", REMEDY)


def evaluate(task: str, path: str | Path, tables: str | Path, regions: RegionStore | None = None) -> list[Measure]:
    """All measures of a predictions file.

    Args:
        task: one of the table of tasks.
        tables: the experiment's tables; its train split gives the priors that `chance` follows.
        regions: for grounding, the store the model chose from: gives the box prior and the merged rule's chance.

    Raises:
        InputError: as `read_predictions` and `demand_whole`.
    """
    told = Evaluated(Path(path), read_predictions(path, task), Path(tables), regions)
    demand_whole(told.path, told.predictions, task, told.tables)
    return list(_measuring(task).measures(told))


def evaluators(tasks: Iterable[str]) -> dict[str, str]:
    """Task -> the public evaluation that is followed (`EVALUATOR` of its module), where there are several versions."""
    found = {task: getattr(_measuring(task), "EVALUATOR", None) for task in tasks}
    return {task: said for task, said in found.items() if said is not None}


def _measuring(task: str) -> ModuleType:
    return importlib.import_module(facts(task).metrics or f"vlp.metrics.{task}")
