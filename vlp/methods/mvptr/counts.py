"""Targets of a micro-batch, counted on the host before its forward pass."""

from __future__ import annotations

import torch
from torch import Tensor

from vlp.methods.mvptr.batch import Batch, Targets
from vlp.objectives import barred


def concepts(targets: Targets) -> int:
    """Masked concepts (eq. 2, 3)."""
    return int(targets.concept_M[-1]) + 1 if len(targets.concept_M) else 0


def matchable(batch: Batch) -> int:
    """Pairs of VSC (eq. 5)."""
    return len(batch) if batch.matchable_B is None else int(batch.matchable_B.sum())


def negatives(batch: Batch) -> Tensor:
    """[B]: the pair has a hard negative."""
    assert batch.gumbel_2BG is not None
    return ~barred(batch.image_B, batch.text_B, batch.gumbel_2BG, batch.matchable_B).all(1)


def matching(batch: Batch) -> int:
    """Pairs of ITM (eq. 8): matched ones and their negatives."""
    return matchable(batch) + int(negatives(batch).sum())


def anchored(batch: Batch, every_text: bool) -> int:
    """Texts of WPG (eq. 7): with a phrase and a hard negative image."""
    assert batch.replace_image_B is not None
    kept = torch.ones_like(batch.replace_image_B) if every_text else batch.replace_image_B
    return int((kept & negatives(batch) & batch.phrase_mask_BP.any(1)).sum())
