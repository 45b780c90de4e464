"""A line of predictions.tsv, and which object belongs to which row of features.tsv."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlp.data.class_names import class_name, whole
from vlp.images.decode import ImageRecord
from vlp.regions.geometry import iou_matrix
from vlp.regions.tsv_rows import EXACT, RowError

SAME_BOX = 0.9
"""An object belongs to the row whose box it overlaps so much."""
_MAX_SIDE = 2**31 - 1


@dataclass(frozen=True)
class Object:
    name: str | None
    """None: it has none that is a word"""
    rect: tuple[float, float, float, float]
    """Pixels"""
    score: float
    """NaN: none"""
    attribute: str | None
    """The surest of its attributes"""
    attribute_score: float


@dataclass(frozen=True)
class Prediction:
    objects: list[Object]
    size: tuple[float, float]
    """Width and height that the rects are of"""
    truth: list[str] | None
    """Class names of gt_objects; None: it has none"""


def parse_json(text: bytes) -> Any:
    """Raises RowError: no JSON; says what stands there instead."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        what = "an empty cell" if not text.strip() else f"{text[:20]!r}"
        raise RowError(f"the text after the tab is not JSON ({error}): {what}") from error


def prediction(line: bytes, record: ImageRecord, own: bool = False) -> Prediction:
    """
    Args:
        own: `vlp regions export` wrote the file: its names are those of a store, and stay as they are.

    Raises:
        RowError: not JSON of the form, a number is not finite.
    """
    name, tab, text = line.partition(b"\t")
    if not tab:
        raise RowError(f"a line without a tab: {name[:20]!r}")
    value = parse_json(text)
    truth: list[str] | None = None
    width, height, objects = record.width, record.height, value
    try:
        if isinstance(value, dict):
            width, height, objects = value.get("image_w", width), value.get("image_h", height), value["objects"]
            if value.get("gt_objects") is not None:
                named = [_name(item["class"], own) for item in value["gt_objects"]]
                truth = [name for name in named if name is not None]
        if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
            raise ValueError(f"an image of {width} x {height}")
        return Prediction([_object(item, own) for item in objects], (width, height), truth)
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise RowError(f"not JSON with objects of class and rect ({type(error).__name__}: {error!s:.80})") from error


def _name(value: Any, own: bool) -> str | None:
    return value if own and isinstance(value, str) and whole(value) and value else class_name(value)


def _object(item: dict[str, Any], own: bool) -> Object:
    x1, y1, x2, y2 = (_number(v) for v in item["rect"])
    attributes, scores = list(item.get("attr") or ()), [_number(v) for v in item.get("attr_conf") or ()]
    if scores and len(scores) != len(attributes):
        raise ValueError(f"{len(attributes)} attributes with {len(scores)} scores")
    best = int(np.argmax(scores)) if scores else 0
    attribute = _name(attributes[best], own) if attributes else None
    return Object(
        _name(item["class"], own),
        (x1, y1, x2, y2),
        float("nan") if item.get("conf") is None else _number(item["conf"]),
        attribute,
        scores[best] if attribute is not None and scores else float("nan"),
    )


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!s:.20} is not a finite number")
    return number


def join(boxes_N4: NDArray[np.float32], line: Prediction, size: tuple[int, int]) -> list[Object | None]:
    """The object of each row, in the size of the image that gives more objects a row: the annotated or the real one."""
    taken = join_in(boxes_N4, line.objects, line.size)
    if line.size != size and sum(o is not None for o in taken) < len(line.objects):
        other = join_in(boxes_N4, line.objects, size)
        if sum(o is not None for o in other) > sum(o is not None for o in taken):
            return other
    return taken


def join_in(boxes_N4: NDArray[np.float32], objects: Sequence[Object], size: tuple[float, float]) -> list[Object | None]:
    """The object of each row [N]; the surest objects choose first, each the row that it overlaps most."""
    taken: list[Object | None] = [None] * len(boxes_N4)
    if not objects or not len(boxes_N4):
        return taken
    rects_M4 = np.array([o.rect for o in objects]) / (*size, *size)
    overlap_MN = iou_matrix(rects_M4, boxes_N4)
    # its own row, also where a box has no area, or another one's is nearly the same
    overlap_MN[np.abs(rects_M4[:, None] - boxes_N4[None]).max(axis=-1) < EXACT] = 1.0
    for at in np.argsort([-o.score for o in objects], kind="stable"):
        row = int(overlap_MN[at].argmax())
        if overlap_MN[at, row] >= SAME_BOX:
            taken[row] = objects[at]
            overlap_MN[:, row] = -1
    return taken
