"""From the scores of VinVL's proposals to its regions: the public code's ways to choose them, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from vlp.regions.detectors.inclusive import half_open, nms, nms_by_class

SCORE = 0.2
"""A region at or above it counts as sure."""
LOW_SCORE = 0.01 * SCORE
"""The class-agnostic suppression looks only at proposals above it: an image may end with fewer than LEAST regions."""
LEAST, MOST = 10, 100


@dataclass(frozen=True)
class Recipe:
    """How regions are chosen among the proposals of an image."""

    name: str
    by_class: bool
    """Suppress each class by itself, else all together by their best class."""
    threshold: float
    """IoU above which a region suppresses another."""
    box_regression: bool
    """Boxes are those of the class's regression, else the proposals; features are the proposals' in any case."""


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("vinvl_released", by_class=False, threshold=0.5, box_regression=False),
        Recipe("vinvl_readme", by_class=True, threshold=0.3, box_regression=False),
        Recipe("vinvl_demo", by_class=True, threshold=0.3, box_regression=True),
    )
}


NAMES = {"vinvl": RECIPES["vinvl_released"], **RECIPES}
"""The detector's name -> its recipe."""


class Chosen(NamedTuple):
    """An image's regions, best score first."""

    rows: Tensor
    """[N] proposal"""
    labels: Tensor
    """[N] 1 ..., 0 is the background"""
    scores: Tensor
    """[N]"""


def choose(recipe: Recipe, boxes: Tensor, probabilities_PC: Tensor) -> Chosen:
    """Regions of an image: all sure ones after suppression, filled up to LEAST, cut at MOST.

    Args:
        boxes: proposals [P,4], or their regression to each class [P,C,4]; x2, y2 the last pixel inside.
        probabilities_PC: softmax over the classes, of which 0 is the background.
    """
    if recipe.by_class:
        stays_PC = _by_class(boxes, probabilities_PC, recipe.threshold)
        stays_PC[:, 0] = False
        scores_P, labels_P = (probabilities_PC * stays_PC).max(dim=1)
        rows = scores_P.nonzero()[:, 0]
    else:
        scores_P, labels_P = probabilities_PC[:, 1:].max(dim=1)
        labels_P = labels_P + 1
        rows = (scores_P > LOW_SCORE).nonzero()[:, 0]
        rows = rows[nms(boxes[rows], scores_P[rows], recipe.threshold)]
    rows = rows[scores_P[rows].argsort(descending=True, stable=True)]
    sure = int((scores_P[rows] >= SCORE).sum())
    rows = rows[: min(max(sure, LEAST), MOST)]
    return Chosen(rows, labels_P[rows], scores_P[rows])


def _by_class(boxes: Tensor, probabilities_PC: Tensor, threshold: float) -> Tensor:
    if boxes.dim() == 2:
        return nms_by_class(boxes, probabilities_PC, threshold)
    classes = torch.arange(probabilities_PC.shape[1], device=boxes.device).expand_as(probabilities_PC)
    scores = probabilities_PC.flatten()
    kept = batched_nms(half_open(boxes.reshape(-1, 4)), scores, classes.flatten(), threshold)
    stays = torch.zeros_like(scores, dtype=torch.bool)
    stays[kept] = True
    return stays.view_as(probabilities_PC)


def best_attribute(logits_NA: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Each region's best attribute [N] (its index without the place 0, "none") and its probability [N].

    -1 and NaN where none exceeds `threshold`.
    """
    scores_N, best_N = logits_NA.softmax(dim=-1)[:, 1:].max(dim=1)
    sure = scores_N > threshold
    return best_N.where(sure, -1), scores_N.where(sure, torch.nan)
