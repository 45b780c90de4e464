"""The embedding cache: a contrastive loss over a global batch that is worked on in micro-batches, in two passes.

First all vectors are computed without gradient, the loss is taken over the whole batch of all ranks, and its gradient
with regard to each vector is kept. Then each micro-batch is encoded again, with gradient, and the kept gradients go
backward from its vectors: by the chain rule that is the gradient of the loss over the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from vlp.batching.batch import Batch
from vlp.batching.order import Layout
from vlp.objectives import LossSum, contrast


class Identity(NamedTuple):
    """What tells the pairs of a batch apart."""

    image_B: Tensor
    """Equal numbers are the same image."""
    text_B: Tensor
    """Equal numbers are equal texts."""
    matchable_B: Tensor | None
    """False where text and image do not describe each other; None: all do."""


@runtime_checkable
class Contrasting(Protocol):
    """A step module with a contrastive loss of texts and images among its losses (`contrasts`)."""

    contrast_group: int | None

    @property
    def contrasts(self) -> bool: ...

    def vectors(self, batch: Any) -> tuple[Tensor, Tensor]:
        """L2-normalised vectors [B,D] of texts and images."""
        ...

    def identity(self, batch: Any) -> Identity: ...

    def scale(self) -> Tensor:
        """1/tau."""
        ...


@dataclass(frozen=True)
class Cached:
    """The contrastive loss of a micro-batch as a linear function of its vectors."""

    text_BD: Tensor
    """Gradient of the loss over the global batch with regard to each text's vector."""
    image_BD: Tensor
    scale: Tensor
    """The same for 1/tau; of the first micro-batch, zero for the others."""
    total: Tensor
    """The loss's value, of the first micro-batch, zero for the others."""
    count: Tensor

    def loss(self, text_BD: Tensor, image_BD: Tensor, scale: Tensor) -> LossSum:
        """The value of the loss, with its gradient."""
        linear = (text_BD * self.text_BD).sum() + (image_BD * self.image_BD).sum() + (scale * self.scale).sum()
        return LossSum.of(linear - linear.detach() + self.total, self.count)


def cache(
    module: Contrasting, batches: Sequence[Batch], layout: Layout, rank: int, seed: Callable[[int], None]
) -> list[Cached]:
    """The first pass over this rank's micro-batches.

    Args:
        seed: called with the number of each micro-batch before it is encoded, as before the second pass: dropout has
            to be the same in both.
    """
    parts, vectors = layout.own(rank), []
    with torch.no_grad():
        for part, batch in zip(parts, batches, strict=True):
            seed(part)
            vectors.append(module.vectors(batch))
    text, image = (torch.cat(v).requires_grad_(True) for v in zip(*vectors, strict=True))
    scale = module.scale().detach().requires_grad_(True)
    place = torch.cat([torch.arange(p.start, p.stop, device=text.device) for p in map(layout.places, parts)])
    every = [torch.ones(len(b), dtype=torch.bool, device=text.device) for b in batches]
    known = [module.identity(b) for b in batches]
    matchable = [e if k.matchable_B is None else k.matchable_B for e, k in zip(every, known, strict=True)]
    images, texts = torch.cat([k.image_B for k in known]), torch.cat([k.text_B for k in known])
    loss = contrast(text, image, scale, images, texts, module.contrast_group, torch.cat(matchable), place)
    gradients = torch.autograd.grad(loss.total, (text, image, scale))
    text_parts, image_parts = (g.split(layout.micro) for g in gradients[:2])
    nothing = torch.zeros_like(loss.total)
    return [
        Cached(
            text_parts[a],
            image_parts[a],
            gradients[2] if a == 0 else torch.zeros_like(scale),
            loss.total.detach() if a == 0 else nothing,
            matchable[a].sum(),
        )
        for a in range(len(batches))
    ]
