"""The table of a sweep: mean and spread over seeds of every row, and paired differences to the control row."""

from __future__ import annotations

import csv
import io
import math
import statistics as stats
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from vlp.config.tasks import known
from vlp.errors import InputError
from vlp.files import write_text
from vlp.report import results
from vlp.report.results import Row
from vlp.report.seeds import fold

COLUMNS = {title: (name, stage, metric) for name, facts in known().items() for title, stage, metric in facts.compared}
"""Column of the table (those of the paper's Table 4) -> task, stage and metric of the results."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Cell:
    """One metric of one row. Differences are to the control row, of the same seeds, seed by seed."""

    row: str
    run: str
    """The run's folder of the first seed; rows with equal settings have the same."""
    stage: str
    task: str
    split: str
    protocol: str
    metric: str
    seeds: int
    mean: float
    sd: float | None
    difference: float | None
    low: float | None
    high: float | None
    published: float | None
    published_difference: float | None


def t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Student's 95% interval of the mean; None for fewer than two values, of which nothing can be said."""
    from scipy.stats import t

    n = len(values)
    if n < 2:
        return None
    half = float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * stats.stdev(values) / math.sqrt(n)
    return stats.fmean(values) - half, stats.fmean(values) + half


def collect(
    folder: Path,
    runs: Mapping[str, Mapping[int, str]],
    control: str,
    published: Mapping[str, Mapping[str, float]],
) -> list[Cell]:
    """Every metric of every row.

    Args:
        folder: of the sweep.
        runs: row -> seed -> folder of the run.
        control: the row that all are compared with.
        published: row -> column (`COLUMNS`) -> the paper's number.

    Raises:
        InputError: the results of a run are missing or damaged.
    """
    found = {row: {s: _values(folder / name / "results.csv") for s, name in of.items()} for row, of in runs.items()}
    cells = []
    for row, seeds in found.items():
        keys = sorted(set.intersection(*(set(v) for v in seeds.values())))
        for key in keys:
            values = {seed: of[key] for seed, of in seeds.items()}
            base = {seed: of[key] for seed, of in found[control].items() if key in of}
            differences = [] if row == control else [v - base[seed] for seed, v in values.items() if seed in base]
            column = next(
                (c for c, (task, stage, metric) in COLUMNS.items() if key[:2] + key[4:] == (stage, task, metric)), ""
            )
            paper, of_control = published.get(row, {}).get(column), published.get(control, {}).get(column)
            away = None if row == control or paper is None or of_control is None else paper - of_control
            interval = t_interval(differences)
            cells.append(
                Cell(
                    row,
                    next(iter(runs[row].values())),
                    *key,
                    seeds=len(values),
                    mean=stats.fmean(values.values()),
                    sd=stats.stdev(values.values()) if len(values) > 1 else None,
                    difference=stats.fmean(differences) if differences else None,
                    low=interval[0] if interval else None,
                    high=interval[1] if interval else None,
                    published=paper,
                    published_difference=away,
                )
            )
    return cells


def _values(path: Path) -> dict[tuple[str, str, str, str, str], float]:
    """(stage, task, split, protocol, metric) -> value, of the main model; of several seeds of fine-tuning the mean."""
    if not path.exists():
        raise InputError(path, "the run has no results.", "Run the sweep again: it makes what is missing.")
    return {_key(r): r.value for r in fold(results.read(path)) if r.variant == "full" and r.task != "detection"}


def _key(row: Row) -> tuple[str, str, str, str, str]:
    return (row.stage, row.task, row.split, row.protocol, row.metric)


def write(path: Path, cells: Sequence[Cell]) -> None:
    out = io.StringIO(newline="")
    table = csv.writer(out, lineterminator="\n")
    table.writerow([f.name for f in fields(Cell)])
    for cell in cells:
        table.writerow(["" if v is None else f"{v:.6f}" if isinstance(v, float) else v for v in astuple(cell)])
    write_text(path, out.getvalue())


def columns(cells: Sequence[Cell]) -> dict[str, dict[str, Cell]]:
    """Column of the table -> row -> its cell on the test split."""
    found: dict[str, dict[str, Cell]] = {}
    for name, (task, stage, metric) in COLUMNS.items():
        for cell in cells:
            same = (cell.task, cell.stage, cell.metric, cell.split) == (task, stage, metric, "test")
            if same and "merged" not in cell.protocol:
                found.setdefault(name, {})[cell.row] = cell
    return found


def html(name: str, control: str, runs: Mapping[str, Mapping[int, str]], cells: Sequence[Cell]) -> str:
    """The self-contained page."""
    import jinja2

    twins: dict[tuple[str, ...], str] = {}
    same = {row: twins.setdefault(tuple(of.values()), row) for row, of in runs.items()}
    page = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("sweep.html")
    return page.render(
        name=name,
        control=control,
        rows=list(runs),
        paper=[row for row in runs if any(c.row == row and c.published is not None for c in cells)],
        same=same,
        columns=columns(cells),
        runs=runs,
        signed=_signed,
    )


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")
