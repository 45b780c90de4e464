"""Masked concept recovering with Hungarian matching (paper 3.2.1, eq. 1-3).

The matching is solved on the host. `mcr_cost` sends what it needs there and does not wait; `mcr_loss` waits, solves and
computes the loss. Between the two the device has other work: the multimodal encoder of stage 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vlp.objectives.reduction import LossSum, precise


class Masked(NamedTuple):
    """The M masked positions of one MCR loss: tags (eq. 2) or phrases (eq. 3)."""

    logits_MV: Tensor
    """Predictions over the V candidates, all pieces of a concept in consecutive rows."""
    label_M: Tensor
    """The original ids, on the device of the logits."""
    concept_M: Tensor
    """Number of the concept that a position belongs to, 0.. in order, on the host."""
    sample_M: Tensor
    """Sample of each position, on the host."""


@dataclass(frozen=True)
class Pending:
    """An MCR loss whose matching problems are on their way to the host."""

    masked: Masked
    log_p_MV: Tensor
    groups: list[Group]
    copy: HostCopy
    begin: int
    """Where this loss's probabilities start in the copy."""


class Group(NamedTuple):
    """K concepts of one sample with equally many pieces: any may be exchanged for any other."""

    start_K: np.ndarray
    """First row of each."""
    pieces: int


class HostCopy:
    """Numbers on their way from a device to the host; only reading them waits."""

    def __init__(self, x: Tensor) -> None:
        self._arrived: torch.cuda.Event | None = None
        self._host = x
        if x.is_cuda:
            # Only a copy to page-locked memory runs beside the kernels.
            self._host = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
            self._host.copy_(x, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record(torch.cuda.current_stream(x.device))

    def numpy(self) -> np.ndarray:
        """Waits when it is first read: the losses of a step share a copy."""
        if self._arrived is not None:
            self._arrived.synchronize()
            self._arrived = None
        return self._host.numpy()


def mcr(logits_MV: Tensor, label_M: Tensor, concept_M: Tensor, sample_M: Tensor) -> LossSum:
    """L_mcr (eq. 2 for tags, eq. 3 for phrases), nats: cross entropy after the labels are re-ordered by eq. 1.

    Masked concepts are a set: "cat dog" and "dog cat" cost the same. The unit of matching is the concept; its cost
    1 - p is the mean over its word pieces, and only concepts of one sample with equally many pieces are exchanged.
    The arguments are those of `Masked`.

    Returns:
        Sum over the masked concepts of the mean cross entropy over their pieces, and the number of concepts.
    """
    return mcr_loss(*mcr_cost(Masked(logits_MV, label_M, concept_M, sample_M)))


def mcr_cost(*losses: Masked) -> list[Pending]:
    """Gather the probabilities that eq. 1 compares, of all losses, and launch one copy of them to the host."""
    if not losses:
        return []
    log_ps, groups = [F.log_softmax(precise(m.logits_MV), -1) for m in losses], [exchangeable(m) for m in losses]
    wanted = [_candidates(m, p.detach(), g) for m, p, g in zip(losses, log_ps, groups, strict=True)]
    copy, begins = HostCopy(torch.cat(wanted)), np.cumsum([0, *(len(p) for p in wanted[:-1])]).tolist()
    return [Pending(m, p, g, copy, b) for m, p, g, b in zip(losses, log_ps, groups, begins, strict=True)]


def mcr_loss(pending: Pending) -> LossSum:
    """Wait for the copy, solve eq. 1, and compute eq. 2 or 3 (see `mcr`)."""
    label_M, concept_M = pending.masked.label_M, pending.masked.concept_M.numpy()
    if label_M.numel() == 0:
        return LossSum.nothing(pending.masked.logits_MV)
    device = label_M.device
    matched_M = label_M[_to_device(matched_labels(pending), device)]
    entropy_M = -pending.log_p_MV.gather(1, matched_M[:, None])[:, 0]
    pieces_M = _to_device(np.bincount(concept_M)[concept_M], device).to(entropy_M)
    return LossSum.of((entropy_M / pieces_M).sum(), int(concept_M[-1]) + 1)


def matched_labels(pending: Pending) -> np.ndarray:
    """alpha of eq. 1 as row numbers: position m is to predict `label_M[result[m]]`."""
    from scipy.optimize import linear_sum_assignment

    order_M, begin = np.arange(len(pending.masked.concept_M)), pending.begin
    if not pending.groups:
        return order_M
    p = pending.copy.numpy()
    for start_K, pieces in pending.groups:
        k = len(start_K)
        cost_KK = 1.0 - p[begin : begin + k * k * pieces].reshape(k, k, pieces).mean(-1)
        begin += k * k * pieces
        # A loss that is not finite is the loop's to report; the solver would fail on it first.
        slot_K, label_K = linear_sum_assignment(np.nan_to_num(cost_KK, nan=1.0))
        order_M[_rows(start_K[slot_K], pieces)] = _rows(start_K[label_K], pieces)
    return order_M


def exchangeable(masked: Masked) -> list[Group]:
    """Groups of at least two concepts of one sample and one number of pieces."""
    concept_M, sample_M = masked.concept_M.numpy(), masked.sample_M.numpy()
    start_C = np.flatnonzero(np.diff(concept_M, prepend=-1))
    pieces_C = np.diff(np.append(start_C, len(concept_M)))
    sample_C = sample_M[start_C]
    order = np.lexsort((pieces_C, sample_C))
    keys = np.stack([sample_C[order], pieces_C[order]], 1)
    cuts = np.flatnonzero(np.any(np.diff(keys, axis=0) != 0, axis=1)) + 1
    return [Group(start_C[g], int(pieces_C[g[0]])) for g in np.split(order, cuts) if len(g) > 1]


def _candidates(masked: Masked, log_p_MV: Tensor, groups: list[Group]) -> Tensor:
    """p of every (slot, label) pair of every group, piece by piece; double, so that near ties fall the same way."""
    rows, columns = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for start_K, pieces in groups:
        slot, label = np.meshgrid(start_K, start_K, indexing="ij")
        rows.append(_rows(slot, pieces))
        columns.append(_rows(label, pieces))
    at, of = (_to_device(np.concatenate(x), log_p_MV.device) for x in (rows, columns))
    return log_p_MV[at, masked.label_M[of]].exp().double()


def _rows(starts: np.ndarray, pieces: int) -> np.ndarray:
    """Rows of whole concepts, one after the other."""
    return (starts.ravel()[:, None] + np.arange(pieces)).ravel()


def _to_device(values: np.ndarray, device: torch.device) -> Tensor:
    """From page-locked memory: any other copy would wait for all that is queued on the device."""
    x = torch.from_numpy(np.ascontiguousarray(values))
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)
