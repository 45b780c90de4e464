"""Visual semantic contrastive loss over the global batch (paper 3.3.1, eq. 4, 5)."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from vlp.objectives.reduction import LossSum


class _Gather(torch.autograd.Function):
    """Rows of all ranks in rank order; backward returns the sum of all ranks' gradients for the own rows."""

    @staticmethod
    def forward(ctx: Any, x_BD: Tensor) -> Tensor:
        ctx.rows = x_BD.shape[0]
        parts = [torch.empty_like(x_BD) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x_BD.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        grad = grads[0].contiguous()
        dist.all_reduce(grad)
        return grad[dist.get_rank() * ctx.rows :][: ctx.rows]


def gather(x: Tensor) -> Tensor:
    """[B,...] of each rank -> [W*B,...] with the full gradient; every rank has the same B."""
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return x
    return _Gather.apply(x) if x.is_floating_point() else _Gather.forward(_Rows(), x)


class _Rows:
    rows = 0


def similarity(text_BD: Tensor, image_BD: Tensor) -> Tensor:
    """U: cosine of every image (rows) with every text (columns), [B,B]; the inputs are L2-normalised."""
    return image_BD @ text_BD.T


def vsc(text_BD: Tensor, image_BD: Tensor, scale: Tensor, image_B: Tensor, text_B: Tensor) -> LossSum:
    """L_vsc (eq. 5) with 1/tau = `scale`; this rank's share of the sum over the global batch.

    Other captions of the same image, and equal texts, are not counted as negatives (ours; the paper does not say).

    Returns:
        Half the sum of both directions over this rank's pairs, and their number.
    """
    texts_GD, images_GD, image_G, text_G = gather(text_BD), gather(image_BD), gather(image_B), gather(text_B)
    rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
    own_B = torch.arange(len(text_BD), device=text_BD.device) + rank * len(text_BD)
    same_BG = (image_B[:, None] == image_G) | (text_B[:, None] == text_G)
    same_BG[torch.arange(len(own_B), device=own_B.device), own_B] = False
    v2s_BG = (scale * similarity(texts_GD, image_BD)).masked_fill(same_BG, -torch.inf)
    s2v_BG = (scale * similarity(text_BD, images_GD).T).masked_fill(same_BG, -torch.inf)
    total = F.cross_entropy(v2s_BG, own_B, reduction="sum") + F.cross_entropy(s2v_BG, own_B, reduction="sum")
    return LossSum.of(total / 2, len(own_B))
