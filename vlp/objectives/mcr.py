"""Masked concept recovering with Hungarian matching (paper 3.2.1, eq. 1-3)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vlp.objectives.reduction import LossSum


def mcr(logits_MV: Tensor, label_M: Tensor, concept_M: Tensor, sample_M: Tensor) -> LossSum:
    """L_mcr (eq. 2 for tags, eq. 3 for phrases): cross entropy after the labels are re-ordered by eq. 1.

    Masked concepts are a set: "cat dog" and "dog cat" cost the same. The unit of matching is the concept; its cost
    1 - p is the mean over its word pieces, and only concepts of one sample with equally many pieces are exchanged.

    Args:
        logits_MV: predictions at the M masked positions, all pieces of a concept in consecutive rows.
        label_M: the original ids, on the device of the logits.
        concept_M: number of the concept that a position belongs to, 0.. in order, on the host.
        sample_M: sample of each position, on the host.

    Returns:
        Sum over the masked concepts of the mean cross entropy over their pieces, and the number of concepts.
    """
    if label_M.numel() == 0:
        return LossSum.nothing(logits_MV)
    log_p = F.log_softmax(logits_MV.float(), -1) if logits_MV.dtype != torch.float64 else F.log_softmax(logits_MV, -1)
    order_M = torch.from_numpy(matched_labels(log_p.detach(), label_M, concept_M.numpy(), sample_M.numpy()))
    matched_M = label_M[order_M.to(label_M.device)]
    entropy_M = -log_p.gather(1, matched_M[:, None])[:, 0]
    pieces_M = torch.bincount(concept_M)[concept_M].to(entropy_M)
    return LossSum.of((entropy_M / pieces_M).sum(), int(concept_M[-1]) + 1)


def matched_labels(log_p_MV: Tensor, label_M: Tensor, concept_M: np.ndarray, sample_M: np.ndarray) -> np.ndarray:
    """alpha of eq. 1 as row numbers: position m is to predict `label_M[result[m]]`."""
    from scipy.optimize import linear_sum_assignment

    starts = np.flatnonzero(np.diff(concept_M, prepend=-1))
    pieces = np.diff(np.append(starts, len(concept_M)))
    result = np.arange(len(concept_M))
    groups = _exchangeable(sample_M[starts], pieces)
    if not groups:
        return result
    # Every (slot, label) pair of every group in one gather, one copy to the host.
    rows, columns, sizes = [], [], []
    for group, n in groups:
        slot, label = np.meshgrid(group, group, indexing="ij")
        offsets = np.arange(n)
        rows.append((starts[slot.ravel()][:, None] + offsets).ravel())
        columns.append((starts[label.ravel()][:, None] + offsets).ravel())
        sizes.append(len(group))
    device = log_p_MV.device
    at = torch.from_numpy(np.concatenate(rows)).to(device, non_blocking=True)
    of = torch.from_numpy(np.concatenate(columns)).to(device, non_blocking=True)
    p = log_p_MV[at, label_M[of]].exp().double().cpu().numpy()
    begin = 0
    for (group, n), k in zip(groups, sizes, strict=True):
        cost = 1.0 - p[begin : begin + k * k * n].reshape(k, k, n).mean(-1)
        begin += k * k * n
        slots, labels = linear_sum_assignment(np.nan_to_num(cost, nan=1.0))
        for s, t in zip(group[slots], group[labels], strict=True):
            result[int(starts[s]) : int(starts[s]) + n] = np.arange(int(starts[t]), int(starts[t]) + n)
    return result


def _exchangeable(sample_C: np.ndarray, pieces_C: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """Groups of at least two concepts that may be exchanged: same sample, same number of pieces."""
    order = np.lexsort((pieces_C, sample_C))
    keys = np.stack([sample_C[order], pieces_C[order]], 1)
    cuts = np.flatnonzero(np.any(np.diff(keys, axis=0) != 0, axis=1)) + 1
    return [(g, int(pieces_C[g[0]])) for g in np.split(order, cuts) if len(g) > 1]
