"""One pure function per equation of the paper; `table` says which loss sees what."""

from vlp.objectives.classification import answers, grounding, itm, labels, mlm
from vlp.objectives.mcr import Masked, Pending, mcr, mcr_cost, mcr_loss
from vlp.objectives.negatives import barred, hard_negatives
from vlp.objectives.reduction import LossSum
from vlp.objectives.vsc import similarity, vsc
from vlp.objectives.wpg import s_wpg, wpg

__all__ = [
    "LossSum",
    "Masked",
    "Pending",
    "answers",
    "barred",
    "grounding",
    "hard_negatives",
    "itm",
    "labels",
    "mcr",
    "mcr_cost",
    "mcr_loss",
    "mlm",
    "s_wpg",
    "similarity",
    "vsc",
    "wpg",
]
