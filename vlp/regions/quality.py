"""How well the regions of a store fit known boxes: recall and precision at an IoU threshold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlp.regions.geometry import iou_matrix
from vlp.regions.store import RegionStore

THRESHOLD = 0.5


@dataclass(frozen=True)
class Truth:
    """An image's annotated objects."""

    image_id: str
    boxes: ArrayLike
    """[T,4] xyxy pixels"""
    class_names: Sequence[str]
    """[T]"""


def match(
    boxes: ArrayLike, classes: Sequence[str], true_boxes: ArrayLike, true_classes: Sequence[str], threshold: float
) -> NDArray[np.int64]:
    """The true box that each of the detections (best first) takes -> [N], -1: none.

    Each true box is taken once, by the best detection of its class that overlaps it at `threshold`; a detection takes
    the free one it overlaps most (as in PASCAL VOC and COCO).
    """
    overlap_NT = iou_matrix(boxes, true_boxes)
    same_NT = np.asarray(classes, object)[:, None] == np.asarray(true_classes, object)[None, :]
    free_NT = np.where(same_NT, overlap_NT, -1.0)
    taken = np.full(len(free_NT), -1, np.int64)
    for n in range(len(free_NT)):
        if free_NT.shape[1] and free_NT[n].max() >= threshold:
            taken[n] = free_NT[n].argmax()
            free_NT[:, taken[n]] = -1.0
    return taken


def detection_quality(store: RegionStore, truths: Iterable[Truth], threshold: float = THRESHOLD) -> dict[str, float]:
    """Counts and rates over the images of `truths` that are in the store.

    recall, precision: right class and IoU >= `threshold`, each object found once, detections = regions with a class;
    recall_any_class: objects that any region reaches, with or without a class; rates are NaN where nothing is counted.
    """
    counts = dict.fromkeys(("images", "objects", "regions", "detections", "found", "reached"), 0)
    for truth in truths:
        if truth.image_id not in store:
            continue
        found = store.regions(truth.image_id)
        named = found.classes >= 0
        names = [store.class_names[c] for c in found.classes[named]]
        taken = match(found.boxes[named], names, truth.boxes, truth.class_names, threshold)
        counts["images"] += 1
        counts["objects"] += len(truth.class_names)
        counts["regions"] += len(found)
        counts["detections"] += int(named.sum())
        counts["found"] += int((taken >= 0).sum())
        if len(found):
            counts["reached"] += int((iou_matrix(found.boxes, truth.boxes).max(axis=0) >= threshold).sum())
    return {
        "recall": _ratio(counts["found"], counts["objects"]),
        # where nothing is annotated, no detection can be wrong
        "precision": _ratio(counts["found"], counts["detections"]) if counts["objects"] else math.nan,
        "recall_any_class": _ratio(counts["reached"], counts["objects"]),
        "mean_regions": _ratio(counts["regions"], counts["images"]),
        "mean_detections": _ratio(counts["detections"], counts["images"]),
        **counts,
    }


def by_split(
    path: str | Path, splits: Mapping[str, str], objects: Iterable[Mapping[str, Any]]
) -> dict[str, dict[str, float | None]]:
    """`detection_quality` of each split; a rate of nothing is None.

    Args:
        path: the store.
        splits: image_id -> split.
        objects: rows of the `objects` table; those of images that are not in `splits` are passed over.
    """
    boxes: dict[str, list[Any]] = {image_id: [] for image_id in splits}
    names: dict[str, list[str]] = {image_id: [] for image_id in splits}
    for row in objects:
        if row["image_id"] in boxes:
            boxes[row["image_id"]].append(row["box"])
            names[row["image_id"]].append(row["class_name"])
    store, quality = RegionStore(path), {}
    for split in ("train", "val", "test"):
        truths = [Truth(i, boxes[i], names[i]) for i, s in splits.items() if s == split]
        if truths:
            rates = detection_quality(store, truths)
            quality[split] = {k: None if math.isnan(v) else round(v, 6) for k, v in rates.items()}
    return quality


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
