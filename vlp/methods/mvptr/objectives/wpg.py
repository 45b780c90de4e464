"""Weakly-supervised phrase grounding (paper 3.3.2, eq. 6, 7)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vlp.objectives.reduction import LossSum, precise

MARGIN = 0.2


def s_wpg(phrases_BPD: Tensor, phrase_mask_BP: Tensor, regions_BRD: Tensor, region_mask_BR: Tensor) -> Tensor:
    """S^wpg (eq. 6), [B]: mean over the phrases of the cosine with the best region; 0 without phrase or region."""
    phrases_BPD, regions_BRD = F.normalize(precise(phrases_BPD), dim=-1), F.normalize(precise(regions_BRD), dim=-1)
    cosine_BPR = phrases_BPD @ regions_BRD.transpose(1, 2)
    best_BP = cosine_BPR.masked_fill(~region_mask_BR[:, None], -torch.inf).amax(-1)
    used_BP = phrase_mask_BP & region_mask_BR.any(1, keepdim=True)
    return best_BP.masked_fill(~used_BP, 0.0).sum(1) / used_BP.sum(1).clamp(min=1)


def wpg(positive_B: Tensor, negative_B: Tensor, valid_B: Tensor) -> LossSum:
    """L_wpg (eq. 7) with max(0, .): the paper prints min, of which no loss can be made.

    Args:
        positive_B, negative_B: S^wpg of the same text with its own and with a hard negative image.
        valid_B: the text has a phrase and there is a hard negative image for it.

    Returns:
        Sum of max(0, 0.2 + negative - positive) over the valid texts, and their number.
    """
    hinge_B = (MARGIN + negative_B - positive_B).clamp(min=0.0)
    return LossSum.of(hinge_B.masked_fill(~valid_B, 0.0).sum(), valid_B.sum())
