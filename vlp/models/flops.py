"""Floating-point operations of what models are made of. Only matrix products count, a multiply-add as two."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np


def linear(rows: float, inputs: int, outputs: int) -> float:
    """A product [rows,inputs] x [inputs,outputs]."""
    return 2.0 * rows * inputs * outputs


def encoder(hidden: int, intermediate: int, layers: int, length_B: np.ndarray, cls_only: bool = False) -> float:
    """A stack of layers over sequences of these lengths: projections and feed-forward part, then attention.

    A layer costs 2 n (4 h^2 + 2 h f) + 4 h sum L^2 with n = sum L.

    Args:
        cls_only: the last layer is computed for position 0 alone; its keys and values still for all.
    """
    h, f, n = hidden, intermediate, float(np.sum(length_B))
    whole = linear(n, h, 4 * h) + 2 * linear(n, h, f) + 4.0 * h * float(np.sum(np.square(length_B)))
    if not cls_only or not layers:
        return layers * whole
    b = len(length_B)
    last = linear(n, h, 2 * h) + linear(b, h, 2 * h) + 2 * linear(b, h, f) + 4.0 * h * n
    return (layers - 1) * whole + last


def vocabulary_head(hidden: int, positions: float, rows: int) -> float:
    """dense h x h, then the product with `rows` rows."""
    return linear(positions, hidden, hidden) + linear(positions, hidden, rows)


def training(forward: Mapping[str, float], leading: Collection[str] = ()) -> dict[str, float]:
    """Forward and backward: a product needs two more for its gradients; that of a `leading` part one, for what it
    reads is data."""
    return {name: (2.0 if name in leading else 3.0) * x for name, x in forward.items()}
