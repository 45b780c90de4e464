"""Visual semantic contrastive loss over the global batch (paper 3.3.1, eq. 4, 5)."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from vlp.objectives.reduction import LossSum, precise


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
    """U (eq. 4): cosine of every image (rows) with every text (columns), [B,B]; the inputs are L2-normalised."""
    return image_BD @ text_BD.T


def contrast(
    text_BD: Tensor,
    image_BD: Tensor,
    scale: Tensor,
    image_B: Tensor,
    text_B: Tensor,
    group: int | None = None,
    matchable_B: Tensor | None = None,
    place_B: Tensor | None = None,
) -> LossSum:
    """L_vsc (eq. 5), nats, with 1/tau = `scale`; this rank's share of the sum over the global batch.

    Other captions of the same image, and equal texts, are not counted as negatives (ours; the paper does not say).

    Args:
        text_BD, image_BD: L2-normalised; ranks hold consecutive parts of the global batch, in rank order.
        image_B, text_B: equal numbers are the same image or text.
        group: pairs are contrasted within groups of so many consecutive places of the global batch, counted over
            all ranks, so that the result does not depend on how many there are; None: with the whole of it.
        matchable_B: False where text and image do not describe each other: no pair, and nobody's negative.
        place_B: places of these pairs in the global batch, where ranks hold no consecutive parts (several
            micro-batches at once); only `group` asks for them. None: consecutive parts in rank order.

    Returns:
        Half the sum of both directions over this rank's pairs, and their number.
    """
    if matchable_B is None:
        matchable_B = torch.ones_like(image_B, dtype=torch.bool)
    text_BD, image_BD = precise(text_BD), precise(image_BD)
    texts_GD, images_GD = gather(text_BD), gather(image_BD)
    rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
    row_G = torch.arange(len(texts_GD), device=text_BD.device)
    own_B = row_G[rank * len(text_BD) :][: len(text_BD)]
    place_B = own_B if place_B is None else place_B
    facts = torch.stack([image_B, text_B, matchable_B.to(image_B.dtype), place_B.to(image_B.dtype)], 1)
    image_G, text_G, matchable_G, place_G = gather(facts).unbind(1)
    barred_BG = (image_B[:, None] == image_G) | (text_B[:, None] == text_G) | (matchable_G == 0)
    if group is not None:
        barred_BG = barred_BG | (place_B[:, None] // group != place_G // group)
    barred_BG = barred_BG & (own_B[:, None] != row_G)
    v2s_BG = (scale * similarity(texts_GD, image_BD)).masked_fill(barred_BG, -torch.inf)
    s2v_BG = (scale * similarity(text_BD, images_GD).T).masked_fill(barred_BG, -torch.inf)
    loss_B = F.cross_entropy(v2s_BG, own_B, reduction="none") + F.cross_entropy(s2v_BG, own_B, reduction="none")
    return LossSum.of(loss_B.masked_fill(~matchable_B, 0.0).sum() / 2, matchable_B.sum())
