"""Cross entropies: MLM (eq. 9), ITM (eq. 8), and those of the tasks (paper 4.2, A.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vlp.objectives.reduction import LossSum

MATCH, NO_MATCH = 0, 1


def mlm(logits_MV: Tensor, label_M: Tensor) -> LossSum:
    """L_mlm (eq. 9): sum over the masked tokens, and their number."""
    if label_M.numel() == 0:
        return LossSum.nothing(logits_MV)
    return LossSum.of(F.cross_entropy(logits_MV.float(), label_M, reduction="sum"), len(label_M))


def itm(logits_N2: Tensor, matched_N: Tensor, valid_N: Tensor) -> LossSum:
    """L_itm (eq. 8) over matched and hard negative pairs."""
    label_N = torch.where(matched_N, MATCH, NO_MATCH)
    loss_N = F.cross_entropy(logits_N2.float(), label_N, reduction="none")
    return LossSum.of(loss_N.masked_fill(~valid_N, 0.0).sum(), valid_N.sum())


def answers(logits_BA: Tensor, scores_BA: Tensor) -> LossSum:
    """VQA (A.3.2): binary cross entropy with soft scores, summed over the answers."""
    return LossSum.of(F.binary_cross_entropy_with_logits(logits_BA.float(), scores_BA, reduction="sum"), len(logits_BA))


def labels(logits_BC: Tensor, label_B: Tensor) -> LossSum:
    """Entailment: 3-way cross entropy (paper 4.2.2)."""
    return LossSum.of(F.cross_entropy(logits_BC.float(), label_B, reduction="sum"), len(label_B))


def grounding(similarity_BGR: Tensor, iou_BGR: Tensor, valid_BGR: Tensor, objective: str) -> LossSum:
    """Regress the similarities to the IoU (A.3.4): `mse`, or `cross_entropy` with the IoU as binary probability."""
    if objective == "mse":
        loss = (similarity_BGR - iou_BGR) ** 2
    else:
        probability = ((similarity_BGR + 1) / 2).clamp(1e-6, 1 - 1e-6)
        loss = F.binary_cross_entropy(probability, iou_BGR, reduction="none")
    return LossSum.of(loss.masked_fill(~valid_BGR, 0.0).sum(), valid_BGR.sum())
