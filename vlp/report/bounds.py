"""Upper bounds: what any choice of a region for a phrase can reach with a store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vlp.config import Experiment
from vlp.data.tables import rows, table_path
from vlp.errors import InputError
from vlp.files import sha256
from vlp.metrics import bootstrap, grounding
from vlp.report.results import SPLITS, Row

if TYPE_CHECKING:
    from vlp.regions.store import RegionStore

METHOD = "any"
"""The bound holds for every method that chooses among these regions."""
PUBLISHED = (50, 100)
"""Numbers of regions that bounds are given for, whatever the model reads: papers compare at these."""


def ranks(
    store: RegionStore, records: Iterable[Mapping[str, Any]], rule: grounding.Rule
) -> tuple[NDArray[np.float64], list[str]]:
    """Place of the best scored right region (IoU > 0.5, as in grounding's accuracy) of each phrase, from 0 [N]; and the
    phrase's image [N]. So the best K regions reach a phrase where its place is below K.

    Args:
        records: with image_id and boxes (xyxy, pixels); those without a box are left out, as in the accuracy. No
            region reaches a phrase whose image is not in the store: infinite, as where none is right.
    """
    places, images = [], []
    for record in records:
        if not record["boxes"]:
            continue
        image, place = record["image_id"], np.inf
        if image in store:
            right = np.flatnonzero(grounding.right(store.regions(image).boxes, record["boxes"], rule))
            place = float(right[0]) if len(right) else np.inf
        places.append(place)
        images.append(image)
    return np.array(places), images


def upper_bounds(experiment: Experiment, store: RegionStore, tables: Path) -> list[Row]:
    """Result rows, percent: each box rule, val and test, with the regions that the model reads, with 50, 100 and all.

    Raises:
        InputError: neither val nor test has a phrase with a box.
    """
    task = experiment.tasks.grounding
    lengths = experiment.lengths if task is None or task.lengths is None else task.lengths
    data = sha256(table_path(tables, "phrase_boxes"))
    weights = str(store.facts.get("weights_sha256", ""))
    limits = {f"best {n} regions": float(n) for n in sorted({lengths.regions, *PUBLISHED})} | {"all regions": np.inf}
    found = []
    for split in SPLITS:
        records = list(rows(tables, "phrase_boxes", split, ["image_id", "boxes"]))
        for rule in grounding.RULES:
            places, images = ranks(store, records, rule)
            for shown, limit in limits.items() if images else ():
                values = 100.0 * (places < limit)
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
                        n=len(images),
                        seed=experiment.seed,
                        checkpoint_sha256=weights if len(weights) == 64 else "",  # imported regions: unknown
                        data_sha256=data,
                    )
                )
    if not found:
        remedy = "Set data.phrase_boxes and read the tables again."
        raise InputError(table_path(tables, "phrase_boxes"), "it has no phrase with a box in val or test.", remedy)
    return found
