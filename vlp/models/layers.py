"""Transformer blocks in BERT's form: post-norm, exact GELU, key masks, scaled-dot-product attention."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlp.models.products import Linear, linear

LAYER_NORM_EPS = 1e-12
INITIAL_STD = 0.02


class Packing(NamedTuple):
    """The N valid positions of B padded sequences, laid end to end: what linear layers and norms need to see."""

    mask_BL: Tensor
    place_N: Tensor
    """Of each valid position in the flattened [B*L]."""
    first_B: Tensor
    """Of each sequence's position 0 among the N."""

    @classmethod
    def of(cls, mask_BL: Tensor) -> Packing | None:
        """None where there is nothing to gain, or where it cannot be known: the number of valid positions of negatives
        is known to the device alone, and asking it would make the host wait (one planned wait a step)."""
        if mask_BL.device.type != "cpu" or bool(mask_BL.all()) or not bool(mask_BL[:, 0].all()):
            return None
        count_B = mask_BL.sum(1)
        return cls(mask_BL, mask_BL.flatten().nonzero()[:, 0], count_B.cumsum(0) - count_B)

    def pad(self, x_ND: Tensor) -> Tensor:
        """[B,L,D], zero where nothing is valid."""
        b, length = self.mask_BL.shape
        return x_ND.new_zeros(b * length, x_ND.shape[1]).index_copy(0, self.place_N, x_ND).unflatten(0, (b, length))


class SelfAttention(nn.Module):
    """Multi-head attention with output projection, dropout and residual LayerNorm."""

    def __init__(self, size: int, heads: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.heads, self.attention_dropout = heads, attention_dropout
        self.query, self.key, self.value = (Linear(size, size) for _ in range(3))
        self.output = Linear(size, size)
        self.norm = nn.LayerNorm(size, eps=LAYER_NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BLD: Tensor, mask_BL: Tensor, queries: int | None = None) -> Tensor:
        """`mask_BL` is True where a key may be attended to; `queries`: only the first so many rows are computed."""
        asked_BQD = x_BLD if queries is None else x_BLD[:, :queries]
        q, k, v = self._split(self.query(asked_BQD)), self._split(self.key(x_BLD)), self._split(self.value(x_BLD))
        dropout = self.attention_dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_BL[:, None, None, :], dropout_p=dropout)
        y_BQD = y.transpose(1, 2).flatten(2)
        return self.norm(asked_BQD + self.dropout(self.output(y_BQD)))

    def packed(self, x_ND: Tensor, packing: Packing, cls_only: bool) -> Tensor:
        """As `forward`, on the valid positions only; attention alone sees the padded form."""
        asked_MD = x_ND[packing.first_B] if cls_only else x_ND
        k, v = (self._split(packing.pad(linear(x_ND))) for linear in (self.key, self.value))
        q_MD = self.query(asked_MD)
        q = self._split(q_MD[:, None] if cls_only else packing.pad(q_MD))
        dropout = self.attention_dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=packing.mask_BL[:, None, None, :], dropout_p=dropout)
        y_MD = y.transpose(1, 2).flatten(2).flatten(0, 1)
        y_MD = y_MD if cls_only else y_MD[packing.place_N]
        return self.norm(asked_MD + self.dropout(self.output(y_MD)))

    def weights(self, x_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        """Attention map [B,H,L,L]: rows are queries and sum to one over the valid keys; without dropout."""
        q, k = self._split(self.query(x_BLD)), self._split(self.key(x_BLD))
        score = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        return score.masked_fill(~mask_BL[:, None, None, :], -torch.inf).softmax(-1)

    def _split(self, x_BLD: Tensor) -> Tensor:
        return x_BLD.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Layer(nn.Module):
    """One BERT layer: attention, then a feed-forward part with residual LayerNorm."""

    def __init__(self, size: int, heads: int, intermediate: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.attention = SelfAttention(size, heads, dropout, attention_dropout)
        self.intermediate = Linear(size, intermediate)
        self.output = Linear(intermediate, size)
        self.norm = nn.LayerNorm(size, eps=LAYER_NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, valid: Tensor | Packing, first_only: bool = False) -> Tensor:
        """[B,L,D] with a key mask [B,L], or [N,D] with its packing; `first_only`: of position 0 alone.

        Either way the layer itself is called: ZeRO 3 gathers its weights then, and ranks do so in one order.
        """
        if isinstance(valid, Packing):
            return self._feed_forward(self.attention.packed(x, valid, first_only))
        return self._feed_forward(self.attention(x, valid, 1 if first_only else None))

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.dropout(self.output(F.gelu(self.intermediate(x)))))


class Encoder(nn.Module):
    """A stack of layers over one sequence."""

    def __init__(
        self, layers: int, size: int, heads: int, intermediate: int, dropout: float, attention_dropout: float
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(size, heads, intermediate, dropout, attention_dropout) for _ in range(layers))

    def forward(self, x_BLD: Tensor, mask_BL: Tensor, first_row_only: bool = False) -> list[Tensor]:
        """States after each layer, or the input where there is no layer.

        With `first_row_only` the last layer is computed for position 0 alone, [B,1,D]. In training on a CPU
        padding is removed, and the states of invalid positions are zero.
        """
        packing = Packing.of(mask_BL) if self.training and len(self.layers) else None
        if packing is not None:
            return self._packed(x_BLD, packing, first_row_only)
        states = [] if len(self.layers) else [x_BLD]
        for i, layer in enumerate(self.layers):
            last = first_row_only and i == len(self.layers) - 1
            x_BLD = layer(x_BLD, mask_BL, last)
            states.append(x_BLD)
        return states

    def _packed(self, x_BLD: Tensor, packing: Packing, first_row_only: bool) -> list[Tensor]:
        x_ND, states = x_BLD.flatten(0, 1)[packing.place_N], []
        for i, layer in enumerate(self.layers):
            last = first_row_only and i == len(self.layers) - 1
            x_ND = layer(x_ND, packing, last)
            states.append(x_ND[:, None] if last else packing.pad(x_ND))
        return states

    def attentions(self, x_BLD: Tensor, mask_BL: Tensor) -> list[Tensor]:
        """Attention map [B,H,L,L] of each layer."""
        maps = []
        for layer in self.layers:
            assert isinstance(layer, Layer)
            maps.append(layer.attention.weights(x_BLD, mask_BL))
            x_BLD = layer(x_BLD, mask_BL)
        return maps


class VocabularyHead(nn.Module):
    """dense, GELU, LayerNorm, then the product with a table of rows plus a bias (BERT's prediction head).

    The table is the embedding's (tied), passed in at each call, or with `own_table` the head's own.
    """

    def __init__(self, size: int, rows: int, own_table: bool = False) -> None:
        super().__init__()
        self.dense = Linear(size, size)
        self.norm = nn.LayerNorm(size, eps=LAYER_NORM_EPS)
        self.bias = nn.Parameter(torch.zeros(rows))
        self.table = nn.Parameter(torch.randn(rows, size) * INITIAL_STD) if own_table else None

    def transform(self, x_MD: Tensor) -> Tensor:
        return self.norm(F.gelu(self.dense(x_MD)))

    def forward(self, x_MD: Tensor, tied_VD: Tensor | None = None) -> Tensor:
        """Logits [M,V]; `tied_VD` are the embedding rows, used where the head has no table of its own."""
        table = self.table if self.table is not None else tied_VD
        assert table is not None, "a tied head needs its table"
        return linear(self.transform(x_MD), table, self.bias)


def initialise(module: nn.Module, std: float = INITIAL_STD) -> None:
    """BERT's initialisation: normal(0, 0.02) for linear and embedding weights, zero biases, unit norms."""
    for m in module.modules():
        if isinstance(m, nn.Linear):
            nn.init.normal_(m.weight, std=std)
            if m.bias is not None:
                nn.init.zeros_(m.bias)
        elif isinstance(m, nn.Embedding):
            nn.init.normal_(m.weight, std=std)
        elif isinstance(m, nn.LayerNorm):
            nn.init.ones_(m.weight)
            nn.init.zeros_(m.bias)
