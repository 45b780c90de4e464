"""What several methods share of their losses: one pure function per equation."""

from vlp.objectives.classification import answers, grounding, itm, labels, mlm
from vlp.objectives.contrast import contrast, similarity
from vlp.objectives.negatives import barred, hard_negatives
from vlp.objectives.reduction import LossSum

__all__ = [
    "LossSum",
    "answers",
    "barred",
    "contrast",
    "grounding",
    "hard_negatives",
    "itm",
    "labels",
    "mlm",
    "similarity",
]
