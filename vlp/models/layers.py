"""Transformer blocks in BERT's form: post-norm, exact GELU, key masks, scaled-dot-product attention."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAYER_NORM_EPS = 1e-12
INITIAL_STD = 0.02


class SelfAttention(nn.Module):
    """Multi-head attention with output projection, dropout and residual LayerNorm."""

    def __init__(self, size: int, heads: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.heads, self.attention_dropout = heads, attention_dropout
        self.query, self.key, self.value = (nn.Linear(size, size) for _ in range(3))
        self.output = nn.Linear(size, size)
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
        self.intermediate = nn.Linear(size, intermediate)
        self.output = nn.Linear(intermediate, size)
        self.norm = nn.LayerNorm(size, eps=LAYER_NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BLD: Tensor, mask_BL: Tensor, queries: int | None = None) -> Tensor:
        x = self.attention(x_BLD, mask_BL, queries)
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

        With `first_row_only` the last layer is computed for position 0 alone, [B,1,D].
        """
        states = [] if len(self.layers) else [x_BLD]
        for i, layer in enumerate(self.layers):
            last = first_row_only and i == len(self.layers) - 1
            x_BLD = layer(x_BLD, mask_BL, 1 if last else None)
            states.append(x_BLD)
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
        self.dense = nn.Linear(size, size)
        self.norm = nn.LayerNorm(size, eps=LAYER_NORM_EPS)
        self.bias = nn.Parameter(torch.zeros(rows))
        self.table = nn.Parameter(torch.randn(rows, size) * INITIAL_STD) if own_table else None

    def transform(self, x_MD: Tensor) -> Tensor:
        return self.norm(F.gelu(self.dense(x_MD)))

    def forward(self, x_MD: Tensor, tied_VD: Tensor | None = None) -> Tensor:
        """Logits [M,V]; `tied_VD` are the embedding rows, used where the head has no table of its own."""
        table = self.table if self.table is not None else tied_VD
        assert table is not None, "a tied head needs its table"
        return F.linear(self.transform(x_MD), table, self.bias)


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
