"""Hard negatives drawn from p(v2s) and p(s2v) within a rank's own batch (paper 3.3.2, 3.3.3)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vlp.objectives.reduction import precise


class Negatives(NamedTuple):
    """Indices into the batch: pair n is (text_N[n], image_N[n])."""

    text_N: Tensor
    image_N: Tensor
    valid_N: Tensor
    """False where the batch has nothing that may be drawn, or the sample itself has no match."""
    hard_image_B: Tensor
    """The image drawn from p(s2v) for each text, whether the pair uses it or not."""


def hard_negatives(
    similarity_BB: Tensor | None,
    image_B: Tensor,
    text_B: Tensor,
    gumbel_2BB: Tensor,
    replace_image_B: Tensor,
    matchable_B: Tensor | None = None,
) -> Negatives:
    """One negative for each pair: the text is kept and an image drawn from p(s2v), or the other way round.

    argmax(log p + Gumbel noise) is a draw from p; the noise comes from counters, so a resumed run draws the same.

    Args:
        similarity_BB: scaled U of eq. 4 (rows images, columns texts); None draws uniformly.
        image_B, text_B: equal numbers are the same image or text and never a negative.
        gumbel_2BB: noise for the draws of images and of texts; -inf: never a negative (of another group).
        replace_image_B: True: the image is replaced, False: the text.
        matchable_B: False where text and image do not describe each other (a question): such a sample gets no
            negative and is none. None: all do.
    """
    barred_BB = barred(image_B, text_B, gumbel_2BB, matchable_B)
    logits_BB = torch.zeros_like(gumbel_2BB[0]) if similarity_BB is None else precise(similarity_BB.detach())
    images_B = (logits_BB.T + gumbel_2BB[0]).masked_fill(barred_BB, -torch.inf).argmax(1)
    texts_B = (logits_BB + gumbel_2BB[1]).masked_fill(barred_BB, -torch.inf).argmax(1)
    own_B = torch.arange(len(image_B), device=image_B.device)
    return Negatives(
        torch.where(replace_image_B, own_B, texts_B),
        torch.where(replace_image_B, images_B, own_B),
        ~barred_BB.all(1),
        images_B,
    )


def barred(image_B: Tensor, text_B: Tensor, gumbel_2BB: Tensor, matchable_B: Tensor | None = None) -> Tensor:
    """[B,B], True where a sample is never the other's negative; the arguments are those of `hard_negatives`."""
    barred_BB = (image_B[:, None] == image_B) | (text_B[:, None] == text_B) | gumbel_2BB[0].isneginf()
    if matchable_B is not None:
        barred_BB = barred_BB | ~matchable_B[:, None] | ~matchable_B
    return barred_BB
