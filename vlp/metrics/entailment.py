"""Accuracy of visual entailment, overall and per class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from vlp.config.tasks.entailment import LABELS
from vlp.data.tables import read_table
from vlp.errors import InputError
from vlp.metrics.items import shown
from vlp.metrics.measure import REMEDY, Evaluated, Measure, mean


def majority(labels: Iterable[str]) -> str | None:
    """The most frequent label; ties go to the lower class index; None without any."""
    counts = Counter(labels)
    return min(counts, key=lambda label: (-counts[label], LABELS.index(label))) if counts else None


def measures(e: Evaluated) -> Iterator[Measure]:
    """Chance: always train's most frequent label; for a class: one of three labels at random."""
    rows = e.predictions.to_pylist()
    if strange := [row["pair_id"] for row in rows if row["prediction"] not in LABELS]:
        raise InputError(e.path, f"prediction is none of {', '.join(LABELS)} for {shown(strange)}.", REMEDY)
    guess = majority(read_table(e.tables, "entailment", "train")["label"].to_pylist())
    chance = None if guess is None else 100 * float(np.mean([row["label"] == guess for row in rows]))
    for label in (None, *LABELS):
        here = [row for row in rows if label in (None, row["label"])]
        if not here:
            continue
        values = [100.0 * (row["prediction"] == row["label"]) for row in here]
        metric, luck = ("accuracy", chance) if label is None else (f"accuracy ({label})", 100 / len(LABELS))
        yield mean("3-way", metric, values, [row["image_id"] for row in here], luck)
