"""A loss as a sum over targets and their count, so that it can be normalised by the global count."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class LossSum(NamedTuple):
    """`total` is the sum over `count` targets; zero targets give a zero that still has a gradient."""

    total: Tensor
    count: Tensor

    @classmethod
    def of(cls, total: Tensor, count: int | Tensor) -> LossSum:
        if not isinstance(count, Tensor):
            count = torch.tensor(float(count), device=total.device)
        return cls(total, count.to(total.dtype))

    @classmethod
    def nothing(cls, like: Tensor) -> LossSum:
        """No target: zero loss, kept in the graph of `like`, so that every rank has a gradient to reduce."""
        return cls.of(like.sum() * 0.0, 0)

    def mean(self) -> Tensor:
        return self.total / self.count.clamp(min=1.0)
