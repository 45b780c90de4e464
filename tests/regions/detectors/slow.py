"""VinVL's way from a feature map to boxes and pooled features in plain NumPy (float64), one number at a time.

Written from the rules in docs/vinvl.md, with sides of x2 - x1 + 1 in every formula, not by moving boxes.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Weights = dict[str, Array]


def iou(a: Array, b: Array) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    overlap = max(width, 0.0) * max(height, 0.0)
    area = [(c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b)]
    return overlap / (area[0] + area[1] - overlap)


def nms(boxes: Array, scores: Array, threshold: float) -> list[int]:
    kept: list[int] = []
    for row in np.argsort(-scores, kind="stable"):
        if all(iou(boxes[row], boxes[other]) <= threshold for other in kept):
            kept.append(int(row))
    return kept


def decode(deltas: Array, box: Array, weights: tuple[float, float, float, float]) -> Array:
    width, height = box[2] - box[0] + 1, box[3] - box[1] + 1
    x, y = box[0] + width / 2, box[1] + height / 2
    dx, dy, dw, dh = (d / w for d, w in zip(deltas, weights, strict=True))
    most = math.log(1000 / 16)
    x, y = x + dx * width, y + dy * height
    width, height = width * math.exp(min(dw, most)), height * math.exp(min(dh, most))
    return np.array([x - width / 2, y - height / 2, x + width / 2 - 1, y + height / 2 - 1])


def clip(box: Array, width: int, height: int) -> Array:
    return np.array([min(max(v, 0.0), side - 1) for v, side in zip(box, [width, height] * 2, strict=True)])


def conv(x: Array, weight: Array, stride: int = 1, padding: int = 0, groups: int = 1) -> Array:
    """x [C,H,W] with weight [O,C/groups,k,k] -> [O,H',W']"""
    outer, inner, side, _ = weight.shape
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    height = (padded.shape[1] - side) // stride + 1
    width = (padded.shape[2] - side) // stride + 1
    out = np.zeros((outer, height, width))
    each = outer // groups
    for g in range(groups):
        rows, columns = slice(g * each, (g + 1) * each), slice(g * inner, (g + 1) * inner)
        for i in range(height):
            for j in range(width):
                patch = padded[columns, i * stride : i * stride + side, j * stride : j * stride + side]
                out[rows, i, j] = weight[rows].reshape(each, -1) @ patch.ravel()
    return out


def norm(x: Array, weights: Weights, name: str) -> Array:
    scale = weights[f"{name}.weight"] / np.sqrt(weights[f"{name}.running_var"])
    shift = weights[f"{name}.bias"] - weights[f"{name}.running_mean"] * scale
    return x * scale[:, None, None] + shift[:, None, None]


def bottleneck(x: Array, weights: Weights, name: str, stride: int, groups: int) -> Array:
    h = np.maximum(norm(conv(x, weights[f"{name}.conv1.weight"]), weights, f"{name}.bn1"), 0)
    h = conv(h, weights[f"{name}.conv2.weight"], stride, 1, groups)
    h = np.maximum(norm(h, weights, f"{name}.bn2"), 0)
    h = norm(conv(h, weights[f"{name}.conv3.weight"]), weights, f"{name}.bn3")
    if f"{name}.downsample.0.weight" in weights:
        x = norm(conv(x, weights[f"{name}.downsample.0.weight"], stride), weights, f"{name}.downsample.1")
    return np.maximum(h + x, 0)


def bilinear(feature_map: Array, y: float, x: float) -> Array:
    """[C] at a point; the middle of the first cell is 0, beyond the middle of an edge cell the map goes on as it is."""
    _, height, width = feature_map.shape
    if y < -1 or y > height or x < -1 or x > width:
        return np.zeros(len(feature_map))
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = int(y), int(x)
    down, right = min(top + 1, height - 1), min(left + 1, width - 1)
    fy, fx = y - top, x - left
    upper = feature_map[:, top, left] * (1 - fx) + feature_map[:, top, right] * fx
    lower = feature_map[:, down, left] * (1 - fx) + feature_map[:, down, right] * fx
    return upper * (1 - fy) + lower * fy


def roi_align(feature_map: Array, box: Array, cells: int, scale: float) -> Array:
    """Not shifted by half a pixel; as many samples a cell as it has pixels of the map, rounded up."""
    x1, y1, x2, y2 = box * scale
    width, height = max(x2 - x1, 1.0), max(y2 - y1, 1.0)
    across, along = math.ceil(width / cells), math.ceil(height / cells)
    out = np.zeros((len(feature_map), cells, cells))
    for i in range(cells):
        for j in range(cells):
            for a in range(along):
                for b in range(across):
                    y = y1 + (i + (a + 0.5) / along) * height / cells
                    x = x1 + (j + (b + 0.5) / across) * width / cells
                    out[:, i, j] += bilinear(feature_map, y, x) / (along * across)
    return out


def proposals(feature_map: Array, weights: Weights, anchors: Array, size: tuple[int, int]) -> Array:
    """The region proposal network on one map -> [P,4], best first."""
    h = conv(feature_map, weights["rpn.head.conv.weight"], padding=1)
    h = np.maximum(h + weights["rpn.head.conv.bias"][:, None, None], 0)
    outputs = []
    for name in ("cls_logits", "bbox_pred"):
        outputs.append(conv(h, weights[f"rpn.head.{name}.weight"]) + weights[f"rpn.head.{name}.bias"][:, None, None])
    boxes, scores = [], []
    for i in range(feature_map.shape[1]):
        for j in range(feature_map.shape[2]):
            for a, anchor in enumerate(anchors):
                moved = decode(outputs[1][4 * a : 4 * a + 4, i, j], anchor + 16 * np.array([j, i, j, i]), (1, 1, 1, 1))
                boxes.append(clip(moved, *size))
                scores.append(1 / (1 + math.exp(-outputs[0][a, i, j])))
    order = np.argsort(-np.array(scores), kind="stable")[:6000]
    best = np.array(boxes)[order]
    return best[nms(best, np.array(scores)[order], 0.7)[:300]]


def feature(feature_map: Array, box: Array, weights: Weights, blocks: int, groups: int) -> Array:
    """[D] of a box: RoIAlign, last stage, mean."""
    h = roi_align(feature_map, box, 14, 1 / 16)
    for block in range(blocks):
        name = f"roi_heads.box.feature_extractor.head.layer4.{block}"
        h = bottleneck(h, weights, name, 2 if block == 0 else 1, groups)
    return h.mean(axis=(1, 2))


def softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def choose_released(boxes: Array, probabilities: Array) -> list[tuple[int, int]]:
    """(proposal, label) of the regions: one suppression over all classes at 0.5."""
    best = [(float(p[1:].max()), int(p[1:].argmax()) + 1) for p in probabilities]
    rows = [row for row, (score, _) in enumerate(best) if score > 0.002]
    kept = [rows[k] for k in nms(boxes[rows], np.array([best[row][0] for row in rows]), 0.5)]
    sure = sum(best[row][0] >= 0.2 for row in kept)
    return [(row, best[row][1]) for row in kept[: min(max(sure, 10), 100)]]


def choose_readme(boxes: Array, probabilities: Array, per_class: Array | None = None) -> list[tuple[int, int]]:
    """(proposal, label): suppression of each class at 0.3, then each proposal's best class that stays."""
    left = np.zeros_like(probabilities)
    for label in range(1, probabilities.shape[1]):
        used = boxes if per_class is None else per_class[:, label]
        rows = nms(used, probabilities[:, label], 0.3)
        left[rows, label] = probabilities[rows, label]
    rows = [row for row in np.argsort(-left.max(axis=1), kind="stable") if left[row].max() > 0]
    sure = sum(left[row].max() >= 0.2 for row in rows)
    return [(int(row), int(left[row].argmax())) for row in rows[: min(max(sure, 10), 100)]]
