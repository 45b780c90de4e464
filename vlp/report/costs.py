"""`costs.csv`: what each rule took."""

from __future__ import annotations

import csv
import io
import itertools
import statistics as stats
from collections.abc import Iterable, Sequence
from pathlib import Path

from vlp.errors import InputError
from vlp.files import write_text
from vlp.tracking import journal as journals

_METRICS = ("samples_per_second", "data_wait", "mfu", "processes", "gpus", "peak_memory_bytes")
COLUMNS = (
    "rule", "status", "attempts", "wall_seconds", "samples_per_second", "data_wait", "mfu", "processes", "gpus",
    "gpu_hours", "peak_memory_mb", "threads", "host",
)  # fmt: skip


def collect(folder: Path) -> list[dict[str, str]]:
    """What each recorded rule took, by name of the rule: times and memory differ from run to run.

    Of a training: `data_wait`, the share of its last attempt's time in which the step waited for the loader; `mfu`, the
    median of its log's lines; `processes`, those of its last attempt, on `gpus` GPUs; `gpu_hours`, see `gpu_hours`.
    """
    rows = []
    for path in sorted((folder / "journals").glob("*.jsonl")):
        events = journals.read(path)
        parts = journals.attempts(events)
        if not parts or parts[-1][-1]["event"] != "run_end":
            continue  # at work, as the rule that asks; or killed
        end, start = parts[-1][-1], parts[-1][0]
        values = {key: [journals.number(e) for e in events if e.get("key") == key] for key in _METRICS}
        rate, memory = values["samples_per_second"], [*values["peak_memory_bytes"], end["peak_memory_bytes"]]
        rows.append(
            {
                "rule": start["rule"],
                "status": end["status"],
                "attempts": str(len(parts)),
                "wall_seconds": f"{journals.wall_seconds(events):.3f}",
                "samples_per_second": f"{stats.median(rate):.3f}" if rate else "",
                "data_wait": f"{values['data_wait'][-1]:.5f}" if values["data_wait"] else "",
                "mfu": f"{stats.median(values['mfu']):.4f}" if values["mfu"] else "",
                "processes": f"{values['processes'][-1]:.0f}" if values["processes"] else "",
                "gpus": f"{values['gpus'][-1]:.0f}" if values["gpus"] else "",
                "gpu_hours": _shown(gpu_hours(events)),
                "peak_memory_mb": f"{max(memory) / 2**20:.1f}",
                "threads": str(start.get("threads", "")),
                "host": start["host"],
            }
        )
    return rows


def gpu_hours(events: Sequence[journals.Event]) -> float | None:
    """GPUs of a training times the hours of its steps; None: no training, or it has not ended.

    The hours are those behind the speeds in its log, whose lines tell of all the time since the line before: without
    waiting in a queue, and without steps that a kill made it do again.
    """
    gpus = [journals.number(e) for e in events if e.get("key") == "gpus"]
    batch = next((e["params"].get("optimisation.batch_size") for e in events if e["event"] == "run_start"), None)
    points = journals.points(events).values()
    rates = {
        e["step"]: journals.number(e) for e in points if e["key"] == "samples_per_second" and e["step"] is not None
    }
    if not gpus or not batch or not rates:
        return None
    steps = [0, *sorted(rates)]
    seconds = sum((b - a) * batch / rates[b] for a, b in itertools.pairwise(steps) if rates[b] > 0)
    return gpus[-1] * seconds / 3600


def _shown(hours: float | None) -> str:
    return "" if hours is None else f"{hours:.4f}"


def write(path: str | Path, rows: Iterable[dict[str, str]]) -> None:
    out = io.StringIO(newline="")
    table = csv.writer(out, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows([row[name] for name in COLUMNS] for row in rows)
    write_text(path, out.getvalue())


def read(path: Path) -> list[dict[str, str]]:
    """Raises InputError: the file is missing or has other columns."""
    if not Path(path).exists():
        raise InputError(path, "the costs are missing.", "Make them: vlp report results.")
    with Path(path).open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file)
        if tuple(table.fieldnames or ()) != COLUMNS:
            raise InputError(path, f"the columns are not {', '.join(COLUMNS)}.", "Run vlp report results again.")
        return list(table)
