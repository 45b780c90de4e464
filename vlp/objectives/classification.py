"""Cross entropies: MLM (eq. 9), ITM (eq. 8), and those of the tasks (paper 4.2, A.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vlp.objectives.reduction import LossSum, precise

MATCH, NO_MATCH = 0, 1


def mlm(logits_MV: Tensor, label_M: Tensor) -> LossSum:
    """L_mlm (eq. 9), nats: sum over the M masked word pieces, and their number; zero where nothing is masked."""
    if label_M.numel() == 0:
        return LossSum.nothing(logits_MV)
    return LossSum.of(F.cross_entropy(precise(logits_MV), label_M, reduction="sum"), len(label_M))


def itm(logits_N2: Tensor, matched_N: Tensor, valid_N: Tensor) -> LossSum:
    """L_itm (eq. 8), nats, over matched and hard negative pairs; pairs that are not `valid_N` count for nothing."""
    label_N = torch.where(matched_N, MATCH, NO_MATCH)
    loss_N = F.cross_entropy(precise(logits_N2), label_N, reduction="none")
    return LossSum.of(loss_N.masked_fill(~valid_N, 0.0).sum(), valid_N.sum())


def answers(logits_BA: Tensor, scores_BA: Tensor) -> LossSum:
    """VQA (A.3.2): binary cross entropy with soft scores in [0, 1], summed over the A answers; the count is B."""
    logits = precise(logits_BA)
    loss = F.binary_cross_entropy_with_logits(logits, scores_BA.to(logits.dtype), reduction="sum")
    return LossSum.of(loss, len(logits_BA))


def labels(logits_BC: Tensor, label_B: Tensor) -> LossSum:
    """Entailment: 3-way cross entropy, nats (paper 4.2.2)."""
    return LossSum.of(F.cross_entropy(precise(logits_BC), label_B, reduction="sum"), len(label_B))


def grounding(similarity_BGR: Tensor, iou_BGR: Tensor, valid_BGR: Tensor, objective: str) -> LossSum:
    """Regress the cosines to the IoU (A.3.4): `mse`, or `cross_entropy` with the IoU as binary probability.

    Args:
        similarity_BGR: cosine in [-1, 1] of each of G phrases with each of R regions.
        iou_BGR: IoU of the region with the phrase's box, in [0, 1].
        valid_BGR: the region exists and the phrase has a box.
    """
    similarity, iou = precise(similarity_BGR), iou_BGR.to(precise(similarity_BGR).dtype)
    if objective == "mse":
        loss = (similarity - iou) ** 2
    else:
        probability = ((similarity + 1) / 2).clamp(1e-6, 1 - 1e-6)
        loss = F.binary_cross_entropy(probability, iou, reduction="none")
    return LossSum.of(loss.masked_fill(~valid_BGR, 0.0).sum(), valid_BGR.sum())
