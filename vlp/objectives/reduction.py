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
            # Filled on the device: a number copied from the host would wait for all that is queued there.
            count = torch.full((), float(count), device=total.device)
        return cls(total, count.to(total.dtype))

    @classmethod
    def nothing(cls, like: Tensor) -> LossSum:
        """No target: zero loss, kept in the graph of `like`, so that every rank has a gradient to reduce."""
        return cls.of(precise(like).sum() * 0.0, 0)

    def mean(self) -> Tensor:
        return self.total / self.count.clamp(min=1.0)


def precise(x: Tensor) -> Tensor:
    """At least single precision: losses are never computed in half precision; double stays double."""
    return x if x.dtype == torch.float64 else x.float()
