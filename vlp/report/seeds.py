"""Fine-tunings that differ in the seed alone: one line for what was measured several times, and what to say of it."""

from __future__ import annotations

import statistics as stats
from collections.abc import Iterable, Sequence
from dataclasses import replace

from vlp.report.results import Row

WANTED = 3
"""Seeds wherever numbers of fine-tunings are compared."""


def fold(rows: Iterable[Row]) -> list[Row]:
    """One row for each key, in the order of the first: its value the mean over seeds, its interval one standard
    deviation to each side, `blind` the mean of the same seeds' blind numbers. A row of one seed stays as it is."""
    together: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        together.setdefault(row.key, []).append(row)
    return [_mean(found) for found in together.values()]


def _mean(rows: Sequence[Row]) -> Row:
    first = min(rows, key=lambda row: row.seed)
    if len(rows) == 1 or first.mean is None or first.sd is None:
        return first
    blind = [row.blind for row in rows if row.blind is not None]
    low, high = first.mean - first.sd, first.mean + first.sd
    return replace(first, value=first.mean, ci_low=low, ci_high=high, blind=stats.fmean(blind) if blind else None)


def said(rows: Iterable[Row]) -> str:
    """What the report tells of the seeds of its fine-tuned numbers; empty where nothing was fine-tuned."""
    counts = {row.seeds for row in rows if row.stage == "fine-tuned"}
    if not counts:
        return ""
    numbers = " or ".join(map(str, sorted(counts)))
    if counts == {1}:
        text = "Fine-tuned with one seed: an interval says what other images would give, not what another seed would"
    else:
        text = f"Fine-tuned with {numbers} seeds: mean ± standard deviation, and below it each seed with its interval"
    return f"{text}." if min(counts) >= WANTED else f"{text}; to compare fine-tunings, {WANTED} seeds are wanted."
