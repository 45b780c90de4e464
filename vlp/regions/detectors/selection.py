"""Which boxes of a detector become regions."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import nms

from vlp.config.regions import Selection


def select(boxes: Tensor, classes: Tensor, scores: Tensor, rule: Selection, suppress: bool) -> tuple[Tensor, Tensor]:
    """Rows of the boxes that are kept, best first, and their classes.

    All that reach the score threshold, and the next best up to `min_regions`, without a class (-1); at most
    `max_regions`. Each region comes once, not once a class: suppression looks at boxes only.

    Args:
        boxes: [N,4] xyxy, in any unit.
        classes, scores: [N], the best class of each box.
        suppress: leave out boxes that overlap a better one by more than `nms_threshold`.

    Returns:
        rows [K], classes [K]
    """
    best = nms(boxes, scores, rule.nms_threshold) if suppress else torch.argsort(-scores, stable=True)
    sure = int((scores[best] >= rule.score_threshold).sum())
    rows = best[: min(max(sure, rule.min_regions), rule.max_regions)]
    return rows, torch.where(scores[rows] >= rule.score_threshold, classes[rows], -1)
