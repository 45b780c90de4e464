"""Phrase grounding: right if IoU > 0.5, strictly (paper 4.2.3), under the two box rules in use."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlp.regions.geometry import iou_matrix

if TYPE_CHECKING:
    import pyarrow as pa

Rule = Literal["any", "merged"]
RULES: tuple[Rule, ...] = ("any", "merged")
"""any: some true box is hit; merged: the box around all true boxes is hit."""
THRESHOLD = 0.5
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
