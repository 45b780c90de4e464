"""One pure function per equation of the paper."""

from vlp.objectives.classification import answers, grounding, itm, labels, mlm
from vlp.objectives.mcr import mcr
from vlp.objectives.negatives import hard_negatives
from vlp.objectives.reduction import LossSum
from vlp.objectives.vsc import similarity, vsc
from vlp.objectives.wpg import s_wpg, wpg

__all__ = [
    "LossSum",
    "answers",
    "grounding",
    "hard_negatives",
    "itm",
    "labels",
    "mcr",
    "mlm",
    "s_wpg",
    "similarity",
    "vsc",
    "wpg",
]
