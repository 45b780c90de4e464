"""Referring expressions: right if the IoU is at least 0.5, as in the released code (reference 5.4)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vlp.config.tasks.referring import FACTS
from vlp.metrics import grounding
from vlp.metrics.measure import Evaluated, Measure, mean


def measures(e: Evaluated) -> Iterator[Measure]:
    """Chance: a random one of the regions. testA and testB are parts of `test`, and are told apart."""
    rows = e.predictions.select(list(FACTS.columns)).to_pylist()
    hits, protocol = grounding.hits(e.predictions, strict=False), "IoU >= 0.5"
    parts = sorted({row["partition"] for row in rows})
    for part in [None, *(parts if len(parts) > 1 else [])]:
        at = [i for i, row in enumerate(rows) if part in (None, row["partition"])]
        images, name = [rows[i]["image_id"] for i in at], "" if part is None else f" ({part})"
        chosen = all(rows[i]["random_hit"] is not None for i in at)  # among regions
        luck = 100 * float(np.mean([rows[i]["random_hit"] for i in at])) if chosen else None
        yield mean(protocol, f"accuracy{name}", 100.0 * hits[at], images, luck)
        if chosen:
            yield mean(protocol, f"upper bound{name}", [100.0 * rows[i]["covered"] for i in at], images, None)
        if part is None:
            random = [row["random_hit"] for row in rows] if chosen else None
            yield from grounding.recalls_within(e.predictions, rows, "any", protocol, random, strict=False)
