"""A box of a published format -> xyxy in pixels of the image as it lies on disk."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from vlp.data.readers.common import CLIPPED, BadRecord, field
from vlp.data.readers.images import Image

MIN_SIDE = 1.0
"""A box with a shorter side (pixels, after clipping) is degenerate."""
MAX_SIDE = 2**31 - 1
_ROUNDING = 0.01
_ASPECT = 0.02

SCALED = "box scaled to the size of the image file"


def fit(
    box: Sequence[float], image: Image, annotated: tuple[float, float] | None, change: Callable[[str], None]
) -> list[float]:
    """Scale an xyxy box from the `annotated` (width, height) to the image's, clip it to the image.

    `change` is called with SCALED or CLIPPED.

    Raises:
        BadRecord: not four finite numbers; less than one pixel is left; the image has another shape than annotated.
    """
    if not all(math.isfinite(v) for v in box):
        raise BadRecord("not a box", f"{list(box)}")
    sx = sy = 1.0
    if annotated is not None and annotated != (image.width, image.height):
        sx, sy = image.width / annotated[0], image.height / annotated[1]
        if abs(sx / sy - 1) > _ASPECT:
            raise BadRecord(
                "the image has another shape than the annotation says",
                f"{image.path} is {image.width} x {image.height}, annotated {annotated[0]:g} x {annotated[1]:g}",
                "Put the image the annotation was made on in its place.",
            )
        change(SCALED)
    scaled = [box[0] * sx, box[1] * sy, box[2] * sx, box[3] * sy]
    limits = (image.width, image.height, image.width, image.height)
    clipped = [min(max(v, 0.0), float(limit)) for v, limit in zip(scaled, limits, strict=True)]
    if min(clipped[2] - clipped[0], clipped[3] - clipped[1]) < MIN_SIDE:
        numbers = ", ".join(f"{v:g}" for v in scaled)
        raise BadRecord("degenerate box", f"({numbers}) in an image of {image.width} x {image.height}")
    if max(abs(a - b) for a, b in zip(scaled, clipped, strict=True)) > _ROUNDING:
        change(CLIPPED)
    return clipped


def coco_box(record: Any) -> list[float]:
    """COCO's `bbox` = x, y, width, height -> xyxy."""
    numbers = field(record, "bbox", list)
    if len(numbers) != 4 or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in numbers):
        raise BadRecord("not a box", f"{numbers}")
    try:
        x, y, width, height = map(float, numbers)
    except OverflowError as error:
        raise BadRecord("not a box", f"{numbers!s:.80}") from error
    return [x, y, x + width, y + height]


def maybe_corners(box: Sequence[float], image: Image, annotated: tuple[float, float] | None) -> bool:
    """Whether the x, y, width, height that became this xyxy `box` might be the two corners of a box."""
    width, height = annotated or (image.width, image.height)
    x, y, right, bottom = box
    return x < right - x <= width + 1 and y < bottom - y <= height + 1
