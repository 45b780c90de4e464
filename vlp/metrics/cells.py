"""What the cells of a predictions file may hold: its numbers would look right with nulls, NaN or another truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vlp.config.tasks.base import Facts, Kind
from vlp.data.tables import read_table
from vlp.errors import InputError
from vlp.metrics.items import ANOTHER, Truth, shown
from vlp.metrics.measure import REMEDY

if TYPE_CHECKING:
    import pyarrow as pa

MOST = 10**9
"""No image has so many regions, and no data set so many folds."""
SAYS = {
    "text": "texts",
    "flag": "true or false",
    "count": "whole numbers from 0",
    "number": "numbers",
    "share": "numbers from 0 to 1",
    "box": "boxes of 4 numbers",
    "boxes": "lists of boxes of 4 numbers",
}


def texts(path: Path, column: pa.ChunkedArray, name: str, ids: Sequence[str] | None = None) -> list[str]:
    """A column of texts.

    Args:
        ids: of the rows; None: these are the ids.

    Raises:
        InputError: they are no texts, or some are null.
    """
    if not _is_kind(column.type, "text"):
        raise InputError(path, f"{name} holds {column.type}, not texts; an id names its data set: coco/123.", REMEDY)
    if at := _nulls(column):
        named = shown(f"row {i + 1}" for i in at) if ids is None else _named(ids, at)
        raise InputError(path, f"{name} is null for {named}.", REMEDY)
    return column.to_pylist()


def demand_filled(path: Path, predictions: pa.Table, facts: Facts, ids: Sequence[str]) -> None:
    """Raises InputError: a null where the contract has none; of the columns that a method may leave, some rows only, or
    some columns only, are null.

    Args:
        ids: of the rows.
    """
    given = {name for name, _ in facts.given}  # compared with the table, which may have nulls
    left = [name for name in facts.columns if name in facts.nullable]
    computed = [name for name, _ in facts.kinds if name not in facts.columns and name in predictions.column_names]
    for name in (name for name in (*facts.columns, *computed) if name not in facts.nullable and name not in given):
        if at := _nulls(predictions[name]):
            raise InputError(path, f"{name} is null for {_named(ids, at)}.", REMEDY)
    empty = {name: _nulls(predictions[name]) for name in left}
    if (
        len({len(at) for at in empty.values()} - {0, predictions.num_rows})
        or len({len(at) for at in empty.values()}) > 1
    ):
        name, at = next((name, at) for name, at in empty.items() if at)
        problem = f"{name} is null in {len(at):,} of {predictions.num_rows:,} rows ({_named(ids, at)}): "
        problem += f"a method leaves {', '.join(left)} in all rows or in none."
        raise InputError(path, problem, REMEDY)


def demand_kinds(path: Path, predictions: pa.Table, facts: Facts, ids: Sequence[str]) -> None:
    """Raises InputError: a column that the metrics compute with holds something else."""
    for name, kind in facts.kinds:
        if name not in predictions.column_names or predictions[name].null_count == predictions.num_rows:
            continue
        column = predictions[name]
        if not _is_kind(column.type, kind):
            problem = f"{name} holds {column.type}, not {SAYS[kind]}."
            raise InputError(path, problem, REMEDY)
        wrong = _bad(column, kind)
        if wrong:
            raise InputError(path, f"{name} has no {SAYS[kind]} for {_named(ids, wrong)}.", REMEDY)


def demand_truth(path: Path, predictions: pa.Table, facts: Facts, ids: Sequence[str], truth: Truth) -> None:
    """Raises InputError: what the file has copied of the table is not what stands there now.

    Args:
        ids: of the rows; all of them are in the table.
    """
    table = read_table(truth.file.parent, facts.table)
    place = {name: i for i, name in enumerate(table[truth.key].to_pylist())}
    at = [place[name] for name in ids]
    for name, there in facts.given:
        known = table[there].to_pylist()
        pairs = zip(predictions[name].to_pylist(), at, strict=True)
        wrong = [i for i, (value, row) in enumerate(pairs) if not _same(value, known[row])]
        if wrong:
            problem = f"{name} is not that of {truth.file.name} for {_named(ids, wrong)}."
            raise InputError(path, problem, ANOTHER)


def _same(value: Any, there: Any) -> bool:
    """Also the one box of the table as a list of boxes, and boxes that have gone through text."""
    if value == there or value == [there]:
        return True
    if not isinstance(value, list) or not isinstance(there, list):
        return False
    try:
        one, other = np.asarray(value, float).reshape(-1), np.asarray(there, float).reshape(-1)
    except (TypeError, ValueError):
        return False
    return len(one) == len(other) and bool(np.allclose(one, other, rtol=1e-6, atol=1e-4))


def _nulls(column: pa.ChunkedArray) -> list[int]:
    """Rows that are null, or whose list has a null."""
    import pyarrow as pa

    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return [i for i, value in enumerate(column.to_pylist()) if value is None or None in value]
    return [] if not column.null_count else np.flatnonzero(np.asarray(column.is_null())).tolist()


def _named(ids: Sequence[str], rows: Iterable[int]) -> str:
    return shown(ids[i] for i in rows)


def _is_kind(kind: Any, wanted: Kind) -> bool:
    from pyarrow import types

    if wanted in ("box", "boxes"):
        lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
        return lists and _is_kind(kind.value_type, "box" if wanted == "boxes" else "number")
    return {
        "text": types.is_string(kind) or types.is_large_string(kind),
        "flag": types.is_boolean(kind),
        "count": types.is_integer(kind),
        "number": types.is_floating(kind) or types.is_integer(kind),
        "share": types.is_floating(kind),
    }[wanted]


def _bad(column: pa.ChunkedArray, kind: Kind) -> list[int]:
    """Rows out of the range, and whose boxes have not four numbers; nulls and NaN were looked at before."""
    if kind in ("count", "share"):
        numbers = np.asarray(column.cast("float64", safe=False), float)
        return np.flatnonzero((numbers < 0) | (numbers > (1 if kind == "share" else MOST))).tolist()
    if kind not in ("box", "boxes"):
        return []
    rows = [[value] if kind == "box" else value for value in column.to_pylist()]
    return [i for i, row in enumerate(rows) if not row or any(not b or len(b) != 4 or None in b for b in row)]
