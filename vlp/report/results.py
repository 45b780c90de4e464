"""`results.csv`: one tidy row per number."""

from __future__ import annotations

import csv
import io
import itertools
import math
import statistics as stats
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from vlp.config import fine_tuning
from vlp.errors import InputError
from vlp.files import sha256, write_text
from vlp.report.seen import UNKNOWN

SPLITS = ("val", "test")


@dataclass(frozen=True)
class Row:
    """One number. Shares are in percent. The fields up to `metric` and `seed` are the row's key."""

    method: str
    variant: str
    stage: str
    task: str
    dataset: str
    split: str
    protocol: str
    metric: str
    value: float
    ci_low: float | None
    ci_high: float | None
    chance: float | None
    blind: float | None
    published: float | None
    n: int
    seed: int
    checkpoint_sha256: str
    data_sha256: str
    seen_by_model: str = UNKNOWN
    seen_by_detector: str = UNKNOWN
    """Whether the row's images were trained on; the words are told in `vlp/report/seen.py`."""
    seeds: int = 1
    """Fine-tunings that differ in the seed alone: each has its row."""
    mean: float | None = None
    sd: float | None = None
    """Of `value` over these seeds; the sample's standard deviation, None for one seed."""

    @property
    def key(self) -> tuple[str, ...]:
        return (self.method, self.variant, self.stage, self.task, self.dataset, self.split, self.protocol, self.metric)


COLUMNS = tuple(field.name for field in fields(Row))
_NUMBERS = ("value", "ci_low", "ci_high", "chance", "blind", "published", "mean", "sd")


def write(path: str | Path, rows: Iterable[Row]) -> None:
    """Sorted by key, six decimals, LF line ends: the same rows give the same bytes.

    Raises:
        InputError: a number is not finite.
        ValueError: two rows have the same key and seed.
    """
    ordered = sorted(rows, key=lambda row: (row.key, row.seed))
    for row, following in itertools.pairwise(ordered):
        if (row.key, row.seed) == (following.key, following.seed):
            raise ValueError(f"two results for {' / '.join(row.key)}, seed {row.seed}")
    out = io.StringIO(newline="")
    table = csv.writer(out, lineterminator="\n")
    table.writerow(COLUMNS)
    for row in ordered:
        _demand_finite(path, row, " / ".join(row.key))
        table.writerow(texts(row))
    write_text(path, out.getvalue())


def read(path: str | Path) -> list[Row]:
    """Raises InputError: the file is missing, has other columns, or a row is damaged or has a number not finite."""
    path, remedy = Path(path), "Make it again: vlp report results."
    if not path.exists():
        raise InputError(path, "the results are missing.", remedy)
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file)
        if tuple(table.fieldnames or ()) != COLUMNS:
            raise InputError(path, f"the columns are not {', '.join(COLUMNS)}.", remedy)
        rows = []
        for number, line in enumerate(table, start=2):
            try:
                values: dict[str, Any] = dict(line)
                values |= {name: float(line[name]) if line[name] else None for name in _NUMBERS}
                values |= {"value": float(line["value"])} | {name: int(line[name]) for name in ("n", "seed", "seeds")}
                rows.append(Row(**values))
                _demand_finite(path, rows[-1], number)
            except (TypeError, ValueError) as error:
                raise InputError(path, f"not a result ({error}).", remedy, row=number) from error
    return rows


def _demand_finite(path: str | Path, row: Row, where: int | str) -> None:
    for name in _NUMBERS:
        value = getattr(row, name)
        if value is not None and not math.isfinite(value):
            raise InputError(path, f"{name} is {value}: no result.", "Look at what it was computed from.", row=where)


def weights_sha256(path: Path) -> str:
    """Digest of a weights file; empty: there is none."""
    return sha256(path) if path.exists() else ""


def source(row: Row, own: int) -> str:
    """The file in the experiment's folder that a row was computed from; `own`: the experiment's seed."""
    from vlp.report import server

    if row.task == "detection":
        return "regions/quality.json"
    if row.task == "data":
        return "tables/summary.json"
    if row.stage == "regions":
        return "bounds.csv"
    if row.protocol == server.PROTOCOL:
        return server.FILE
    variant = "pretrained" if row.stage == "pre-trained" else row.variant
    return f"predictions/{fine_tuning(row.task, variant, row.seed, own)}.{row.split}.parquet"


def with_spread(rows: Iterable[Row]) -> list[Row]:
    """The rows with number, mean and standard deviation of those that differ in the seed alone."""
    values: dict[tuple[str, ...], list[float]] = {}
    rows = list(rows)
    for row in rows:
        values.setdefault(row.key, []).append(row.value)
    spread = {
        key: {"seeds": len(v), "mean": stats.fmean(v), "sd": stats.stdev(v) if len(v) > 1 else None}
        for key, v in values.items()
    }
    return [replace(row, **spread[row.key]) for row in rows]


def texts(row: Row) -> list[str]:
    """The row's cells as results.csv has them, in the order of COLUMNS."""
    return [_text(getattr(row, name), name) for name in COLUMNS]


def _text(value: Any, name: str) -> str:
    if value is None:
        return ""
    return f"{value:.6f}" if name in _NUMBERS else str(value)
