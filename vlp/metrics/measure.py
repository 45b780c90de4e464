"""One number that a predictions file gives, and what the numbers of a task are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vlp.metrics import bootstrap

if TYPE_CHECKING:
    import pyarrow as pa

    from vlp.regions.store import RegionStore

REMEDY = "Predict again: vlp task predict."


@dataclass(frozen=True)
class Measure:
    protocol: str
    metric: str
    value: float
    low: float | None
    high: float | None
    chance: float | None
    n: int
    blind: float | None = None
    """What does not look at the image's content gets; only grounding's box prior is known here."""


@dataclass(frozen=True)
class Evaluated:
    """What `measures` of a task's module (`vlp/metrics/TASK.py`) is given."""

    path: Path
    predictions: pa.Table
    """The file's rows, in the form of the contract; there is at least one."""
    tables: Path
    """The experiment's tables; their train split gives the priors that `chance` follows."""
    regions: RegionStore | None = None
    """The store that the model chose from; None: there is none at hand, or the method has none."""


def mean(protocol: str, metric: str, values: Any, images: Sequence[str], chance: float | None) -> Measure:
    """The mean of N values with its interval, resampled by image."""
    low, high = bootstrap.interval(values, images)
    return Measure(protocol, metric, float(np.mean(values)), low, high, chance, len(images))
