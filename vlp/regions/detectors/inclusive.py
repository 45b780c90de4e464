"""Boxes as maskrcnn-benchmark counts them: x2, y2 are the last pixel inside, so a side is x2 - x1 + 1.

VinVL was trained so. [x1, y1, x2, y2] here is [x1, y1, x2 + 1, y2 + 1] in torchvision, whose functions do the work on
boxes so moved; docs/vinvl.md names the source of each rule.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import box_iou
from torchvision.ops import nms as half_open_nms


def cell_anchors(
    stride: int = 16, sizes: Sequence[int] = (32, 64, 128, 256, 512), ratios: Sequence[float] = (0.5, 1.0, 2.0)
) -> NDArray[np.float32]:
    """The anchors of the cell at the origin -> [ratios x sizes, 4], a ratio (height / width) at a time.

    The sides for a ratio are rounded at the size of one cell, height from the rounded width, and only then scaled;
    torchvision rounds the corners of each anchor instead. All are centred on the last half pixel, (stride - 1) / 2.
    """
    centre = (stride - 1) / 2
    anchors = []
    for ratio in ratios:
        width = np.round(np.sqrt(stride**2 / ratio))
        height = np.round(width * ratio)
        for size in sizes:
            half = (np.array([width, height]) * size / stride - 1) / 2
            anchors.append([*(centre - half), *(centre + half)])
    return np.array(anchors, np.float32)


def grid_anchors(anchors_A4: Tensor, height: int, width: int, stride: int) -> Tensor:
    """Anchors of every cell of a map of `height` x `width` -> [height*width*A, 4]: by row, column, anchor."""
    y_HW, x_HW = torch.meshgrid(
        torch.arange(height, device=anchors_A4.device) * stride,
        torch.arange(width, device=anchors_A4.device) * stride,
        indexing="ij",
    )
    shifts = torch.stack([x_HW, y_HW, x_HW, y_HW], dim=-1).to(anchors_A4)
    return (shifts.reshape(-1, 1, 4) + anchors_A4).reshape(-1, 4)


def half_open(boxes: Tensor) -> Tensor:
    """Boxes [...,4] whose last pixel is inside -> the same boxes with x2, y2 one past it."""
    return boxes + boxes.new_tensor([0, 0, 1, 1])


def encode(boxes_N4: Tensor, references_N4: Tensor, weights: tuple[float, float, float, float]) -> Tensor:
    """What the regression has to give to make `boxes` of `references` -> [N,4]: wx dx, wy dy, ww dw, wh dh."""
    return BoxCoder(weights).encode_single(half_open(boxes_N4), half_open(references_N4))


def decode(deltas: Tensor, references_N4: Tensor, weights: tuple[float, float, float, float]) -> Tensor:
    """Move `references` by `deltas` [N,4C] -> boxes [N,C,4]; a side grows at most 62.5-fold (1000 / 16)."""
    moved = BoxCoder(weights).decode_single(deltas, half_open(references_N4)).reshape(len(deltas), -1, 4)
    return moved - moved.new_tensor([0, 0, 1, 1])


def clip(boxes: Tensor, width: int, height: int) -> Tensor:
    """Boxes [...,4] cut to the pixels 0 .. width - 1, 0 .. height - 1."""
    limits = boxes.new_tensor([width - 1, height - 1, width - 1, height - 1])
    return torch.minimum(boxes.clamp(min=0), limits)


def iou(boxes_N4: Tensor, others_M4: Tensor) -> Tensor:
    """Intersection over union [N,M], sides counted with + 1."""
    return box_iou(half_open(boxes_N4), half_open(others_M4))


def nms(boxes_N4: Tensor, scores_N: Tensor, threshold: float) -> Tensor:
    """Rows that stay, best score first: a box goes if its IoU with a better one that stays exceeds `threshold`."""
    return half_open_nms(half_open(boxes_N4), scores_N, threshold)


def nms_by_class(boxes_P4: Tensor, scores_PC: Tensor, threshold: float) -> Tensor:
    """Suppression of the same P boxes for each of C classes -> [P,C] bool, True: stays.

    All classes step through their boxes together: P steps, where C calls of `nms` would make the GPU wait C times.
    """
    count = len(boxes_P4)
    over_PP = iou(boxes_P4, boxes_P4) > threshold
    order_PC = scores_PC.argsort(dim=0, descending=True, stable=True)
    place_PC = order_PC.argsort(dim=0)
    stays_PC = torch.ones_like(scores_PC, dtype=torch.bool)
    for step in range(count):
        box_C = order_PC[step]
        alive_C = stays_PC.gather(0, box_C[None])[0]
        stays_PC &= ~(over_PP[:, box_C] & alive_C & (place_PC > step))
    return stays_PC
