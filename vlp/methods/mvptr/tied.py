"""The joint table of words and phrases: embedded ids, and the rows that the vocabulary heads share."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Tied(NamedTuple):
    """What one step reads of the table, so that its gradient is put together once.

    With the heads tied to it the gradient is dense: a softmax gives every row one. But each reading by itself (text,
    tags, three heads) would fill and add a gradient of the whole table: at the paper's 85,472 rows 263 MB each.
    """

    embedded_ND: Tensor
    words_VD: Tensor
    phrases_VD: Tensor

    @classmethod
    def read(cls, table_VD: Tensor, ids_N: Tensor, words: int) -> Tied:
        """Rows `ids_N`; the first `words` rows; those after them."""
        return cls(*_Read.apply(table_VD, ids_N, words))


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table_VD: Tensor, ids_N: Tensor, words: int) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(ids_N)
        ctx.set_materialize_grads(False)
        ctx.words, ctx.shape = words, table_VD.shape
        return table_VD[ids_N], table_VD[:words], table_VD[words:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None, None]:
        known = next((g for g in grads if g is not None), None)
        if known is None:
            return None, None, None
        table_VD = known.new_empty(ctx.shape)
        for part, grad in ((table_VD[: ctx.words], grads[1]), (table_VD[ctx.words :], grads[2])):
            part.zero_() if grad is None else part.copy_(grad)
        if grads[0] is not None:
            # Unlike index_add_, the same bits each time on a GPU too.
            table_VD.index_put_(ctx.saved_tensors, grads[0], accumulate=True)
        return table_VD, None, None
