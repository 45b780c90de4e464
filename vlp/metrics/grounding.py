"""Phrase grounding: right if IoU > 0.5, strictly (paper 4.2.3), under the two box rules in use."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import comb
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlp.config.tasks.grounding import FACTS
from vlp.data.tables import read_table
from vlp.metrics.measure import Evaluated, Measure, mean
from vlp.regions.geometry import iou_matrix

if TYPE_CHECKING:
    import pyarrow as pa

    from vlp.regions.store import RegionStore

Rule = Literal["any", "merged"]
RULES: tuple[Rule, ...] = ("any", "merged")
"""any: some true box is hit; merged: the box around all true boxes is hit."""
THRESHOLD = 0.5
DEPTHS = (5, 10)
"""Of the ranked boxes: R@5, R@10."""
NOWHERE = np.iinfo(np.int64).max
PRIOR_PHRASES = 20_000
"""So many train phrases choose the box prior."""
Boxes = NDArray[np.float64]


def merged(boxes: Sequence[Sequence[float]] | Boxes) -> Boxes:
    """The box around all boxes, [1, 4]."""
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)])[None]


def right(
    candidates_KF: ArrayLike, true_boxes: Sequence[Sequence[float]] | Boxes, rule: Rule, *, strict: bool = True
) -> NDArray[np.bool_]:
    """Which of K candidate boxes are right, [K].

    Args:
        strict: the IoU has to be greater than 0.5 (paper 4.2.3); else 0.5 will do (reference 5.4).
    """
    iou = iou_matrix(candidates_KF, merged(true_boxes) if rule == "merged" else true_boxes)
    return np.asarray((iou > THRESHOLD if strict else iou >= THRESHOLD).any(axis=1))


def hits(predictions: pa.Table, rule: Rule = "any", *, strict: bool = True) -> NDArray[np.bool_]:
    """Whether each phrase that has a box is grounded right; phrases without box are left out, as published."""
    columns = predictions.select(["box", "boxes"]).to_pylist()
    return np.array(
        [bool(right([r["box"]], r["boxes"], rule, strict=strict)[0]) for r in columns if r["boxes"]], dtype=bool
    )


def first_right(predictions: pa.Table, rule: Rule = "any", *, strict: bool = True) -> NDArray[np.int64] | None:
    """Rank of each phrase's first right box, from 0, as `hits`; where none is right, larger than any rank there is.

    None: the predictions hold the best box alone.
    """
    if "ranked" not in predictions.column_names:
        return None
    rows = predictions.select(["ranked", "boxes"]).to_pylist()
    found = [right(r["ranked"], r["boxes"], rule, strict=strict) for r in rows if r["boxes"]]
    return np.array([r.argmax() if r.any() else NOWHERE for r in found], dtype=np.int64)


def chance_within(k: int, share: float, regions: int) -> float:
    """Probability that k different regions, drawn at random, hold a right one.

    Args:
        share: of the `regions` that are right.
    """
    wrong = regions - round(share * regions)
    return 1 - comb(wrong, min(k, regions)) / comb(regions, min(k, regions))


def recalls_within(
    predictions: pa.Table,
    rows: Sequence[Mapping[str, Any]],
    rule: Rule,
    protocol: str,
    random: Sequence[float] | None,
    *,
    strict: bool = True,
) -> Iterator[Measure]:
    """R@5 and R@10; R@1 is the accuracy.

    Args:
        rows: of the predictions, those whose phrase has a box.
        random: share of each one's regions that are right; None: they are no regions.
    """
    images, first = [row["image_id"] for row in rows], first_right(predictions, rule, strict=strict)
    if first is None:
        return
    for k in DEPTHS:
        luck = None
        if random is not None:
            each = [chance_within(k, s, r["num_regions"]) for s, r in zip(random, rows, strict=True)]
            luck = 100 * float(np.mean(each))
        yield mean(protocol, f"R@{k}", 100.0 * (first < k), images, luck)


def readings_of(predictions: pa.Table) -> list[str]:
    """Names of the readings of a predictions table, that of `box` first."""
    return json.loads((predictions.schema.metadata or {}).get(b"readings", b"[]"))


def boxes_of(predictions: pa.Table, reading: int) -> pa.Table:
    """The table with the boxes of another reading as its `box`."""
    import pyarrow.compute as pc

    at = predictions.column_names.index("box")
    return predictions.set_column(at, "box", pc.list_element(predictions["readings_boxes"], reading))  # pyright: ignore


PRIORS = ("whole image", "largest region", "best scored region", "centre-most region")


def prior_boxes(regions_KF: ArrayLike, size: Sequence[float]) -> NDArray[np.float64]:
    """One box per entry of `PRIORS`, chosen without reading the phrase: [4 priors, 4].

    Args:
        regions_KF: the image's regions, xyxy, best score first.
        size: width and height of the image.
    """
    width, height = float(size[0]), float(size[1])
    whole = np.array([0.0, 0.0, width, height])
    regions = np.asarray(regions_KF, dtype=np.float64)
    if not len(regions):
        return np.stack([whole] * len(PRIORS))
    areas = np.prod(regions[:, 2:] - regions[:, :2], axis=1)
    off_centre = np.hypot(*((regions[:, :2] + regions[:, 2:]) / 2 - np.array([width, height]) / 2).T)
    return np.stack([whole, regions[areas.argmax()], regions[0], regions[off_centre.argmin()]])


# -- measures ----------------------------------------------------------------------------------------------------------
def measures(e: Evaluated) -> Iterator[Measure]:
    """Chance: a random one of the regions; blind: the box prior that is best on train. Boxes that were chosen among
    none have neither, and no upper bound."""
    predictions, regions = e.predictions, e.regions
    everything = predictions.select(list(FACTS.columns)).to_pylist()
    rows = [row for row in everything if row["boxes"]]
    without = len(everything) - len(rows)
    if not rows:
        return
    images = [row["image_id"] for row in rows]
    for rule in RULES:
        protocol = f"IoU > 0.5, {rule} box"
        values = 100.0 * hits(predictions, rule)
        random, covered = _reach(rows, rule, regions)
        prior = None if regions is None else _box_prior(rows, e.tables, rule, regions)
        chance = None if random is None else 100 * float(np.mean(random))
        measure = mean(protocol, "accuracy", values, images, chance)
        yield replace(measure, blind=None if prior is None else prior.value)
        if covered is not None:
            yield mean(protocol, "upper bound", 100.0 * covered, images, None)
        if prior is not None:
            yield prior
        yield from recalls_within(predictions, rows, rule, protocol, random)
        names = readings_of(predictions)
        for i, name in enumerate(names if len(names) > 1 else []):
            metric = f"accuracy by {name}{' (chosen on val)' if i == 0 else ''}"
            yield mean(protocol, metric, 100.0 * hits(boxes_of(predictions, i), rule), images, chance)
        if rule == "any":
            for kind in sorted({row["phrase_type"] for row in rows}):
                at = [i for i, row in enumerate(rows) if row["phrase_type"] == kind]
                luck = None if random is None else 100 * float(np.mean(random[at]))
                yield mean(protocol, f"accuracy ({kind})", values[at], [images[i] for i in at], luck)
    yield Measure("left out", "phrases without box", float(without), None, None, None, len(everything))


def _reach(rows: Sequence[Mapping[str, Any]], rule: Rule, regions: RegionStore | None) -> tuple[Any, Any]:
    """Share of a phrase's regions that are right [N], and whether any is [N]; None where it cannot be known."""
    if any(row["random_hit"] is None for row in rows):  # boxes of the model's own
        return None, None
    if rule == "any":
        return np.array([row["random_hit"] for row in rows]), np.array([row["covered"] for row in rows], dtype=bool)
    if regions is None:
        return None, None
    hit = [right(regions.regions(row["image_id"], row["num_regions"]).boxes, row["boxes"], rule) for row in rows]
    return np.array([h.mean() if len(h) else 0.0 for h in hit]), np.array([h.any() for h in hit], dtype=bool)


def _box_prior(rows: Sequence[Mapping[str, Any]], tables: Path, rule: Rule, regions: RegionStore) -> Measure | None:
    if any(row["num_regions"] is None for row in rows):
        return None
    limit = max(row["num_regions"] for row in rows)
    train = read_table(tables, "phrase_boxes", "train").select(["image_id", "boxes"]).slice(0, PRIOR_PHRASES)
    return box_prior_accuracy(train.to_pylist(), rows, rule, regions, limit)


def box_prior_accuracy(
    train: Iterable[Mapping[str, Any]],
    test: Sequence[Mapping[str, Any]],
    rule: Rule,
    regions: RegionStore,
    limit: int,
) -> Measure | None:
    """The accuracy on `test` of the one way to choose a box without the phrase that is best on `train`.

    Args:
        train, test: records with image_id and boxes; those without boxes or outside the store are left out.
        limit: the best so many regions of an image, as the model reads them.

    Returns:
        None if one of the two has no usable record.
    """
    chosen = _prior_hits(train, rule, regions, limit)[0]
    reached, images = _prior_hits(test, rule, regions, limit)
    if not len(chosen) or not len(reached):
        return None
    best = int(chosen.mean(axis=0).argmax())
    metric = f"box prior ({PRIORS[best]})"
    return mean(f"IoU > 0.5, {rule} box", metric, 100.0 * reached[:, best], images, None)


def _prior_hits(
    records: Iterable[Mapping[str, Any]], rule: Rule, regions: RegionStore, limit: int
) -> tuple[Any, list[str]]:
    """[N, priors] hits of the N usable records, and their images."""
    boxes: dict[str, Any] = {}
    found, images = [], []
    for record in records:
        image = record["image_id"]
        if not record["boxes"] or image not in regions:
            continue
        if image not in boxes:
            boxes[image] = prior_boxes(regions.regions(image, limit).boxes, regions.image_size(image))
        found.append(right(boxes[image], record["boxes"], rule))
        images.append(image)
    return np.array(found, dtype=bool), images
