"""Boxes (xyxy, pixels of the original image) and the six geometry numbers of a region."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def geometry(boxes: ArrayLike, sizes: ArrayLike) -> NDArray[np.float32]:
    """x1/W, y1/H, x2/W, y2/H, w/W, h/H of `boxes` [...,4] (pixels) -> [...,6] float32, in [0,1] for boxes inside.

    Args:
        sizes: (width, height) of the image, or of each box's image: [...,2], to be broadcast.
    """
    boxes, sides = np.asarray(boxes), np.asarray(sizes, np.float64)
    scaled = boxes / np.concatenate([sides, sides], axis=-1)
    out = np.empty((*scaled.shape[:-1], 6), np.float32)
    out[..., :4] = scaled
    np.subtract(scaled[..., 2:], scaled[..., :2], out=out[..., 4:], casting="same_kind")
    return out


def clip(boxes: ArrayLike, width: float, height: float) -> NDArray[np.float32]:
    """`boxes` [K,4] cut to the image -> [K,4] float32."""
    limits = (width, height, width, height)
    return np.clip(np.asarray(boxes, np.float64).reshape(-1, 4), 0, limits).astype(np.float32)


def iou_matrix(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of `a` [N,4] with `b` [M,4] -> [N,M] float64 in [0,1]; 0 where both are empty."""
    a_N4, b_M4 = np.asarray(a, np.float64).reshape(-1, 4), np.asarray(b, np.float64).reshape(-1, 4)
    corner = np.maximum(a_N4[:, None, :2], b_M4[None, :, :2])
    overlap = np.clip(np.minimum(a_N4[:, None, 2:], b_M4[None, :, 2:]) - corner, 0, None).prod(axis=-1)
    union = _area(a_N4)[:, None] + _area(b_M4)[None, :] - overlap
    # minimum: rounding may leave the overlap of a box with itself a trifle above its area
    return np.minimum(np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0), 1.0)


def _area(boxes_N4: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(boxes_N4[:, 2:] - boxes_N4[:, :2], 0, None).prod(axis=1)
