"""Upper bounds: what any choice of a region for a phrase can reach with a store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vlp.config import Experiment
from vlp.data.tables import rows, table_path
from vlp.errors import InputError
from vlp.files import sha256
from vlp.report.results import SPLITS, Row
from vlp.tasks.metrics import bootstrap, grounding

if TYPE_CHECKING:
    from vlp.regions.store import RegionStore

METHOD = "any"
"""The bound holds for every method that chooses among these regions."""


def covered(
    store: RegionStore, records: Iterable[Mapping[str, Any]], rule: grounding.Rule, limit: int | None
) -> tuple[list[bool], list[str]]:
    """Whether some region is right (IoU > 0.5, as in grounding's accuracy) for each phrase [N], and its image [N].

    Args:
        records: with image_id and boxes (xyxy, pixels); those without a box are left out, as in the accuracy. An
            image that is not in the store reaches nothing.
        limit: the best so many regions of an image, as the model reads them; None: all.
    """
    hits, images = [], []
    for record in records:
        if not record["boxes"]:
            continue
        image = record["image_id"]
        reached = image in store and bool(
            grounding.right(store.regions(image, limit).boxes, record["boxes"], rule).any()
        )
        hits.append(reached)
        images.append(image)
    return hits, images


def upper_bounds(experiment: Experiment, store: RegionStore, tables: Path) -> list[Row]:
    """Result rows, percent: each box rule, val and test, with the regions that the model reads and with all.

    Raises:
        InputError: neither val nor test has a phrase with a box.
    """
    task = experiment.tasks.grounding
    lengths = experiment.lengths if task is None or task.lengths is None else task.lengths
    data = sha256(table_path(tables, "phrase_boxes"))
    weights = str(store.facts.get("weights_sha256", ""))
    found = []
    for split in SPLITS:
        records = list(rows(tables, "phrase_boxes", split, ["image_id", "boxes"]))
        for rule in grounding.RULES:
            for limit, shown in ((lengths.regions, f"best {lengths.regions} regions"), (None, "all regions")):
                hits, images = covered(store, records, rule, limit)
                if not hits:
                    continue
                values = 100.0 * np.array(hits, float)
                low, high = bootstrap.interval(values, images)
                found.append(
                    Row(
                        method=METHOD,
                        variant="full",
                        stage="regions",
                        task="grounding",
                        dataset=experiment.data.name,
                        split=split,
                        protocol=f"IoU > {grounding.THRESHOLD}, {rule} box, {shown}",
                        metric="upper bound",
                        value=float(values.mean()),
                        ci_low=low,
                        ci_high=high,
                        chance=None,
                        blind=None,
                        published=None,
                        n=len(hits),
                        seed=experiment.seed,
                        checkpoint_sha256=weights if len(weights) == 64 else "",  # imported regions: unknown
                        data_sha256=data,
                    )
                )
    if not found:
        remedy = "Set data.phrase_boxes and read the tables again."
        raise InputError(table_path(tables, "phrase_boxes"), "it has no phrase with a box in val or test.", remedy)
    return found
