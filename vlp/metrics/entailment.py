"""Accuracy of visual entailment, overall and per class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from vlp.config.tasks.entailment import LABELS


def majority(labels: Iterable[str]) -> str | None:
    """The most frequent label; ties go to the lower class index; None without any."""
    counts = Counter(labels)
    return min(counts, key=lambda label: (-counts[label], LABELS.index(label))) if counts else None
