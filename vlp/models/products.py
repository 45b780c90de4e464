"""Matrix products of linear layers: torch's, or where that leaves half of a processor unused, oneDNN's."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

WORTH = 2e8
"""FLOPs of a product from which oneDNN is asked: for each new number of rows it makes a kernel, in 0.3 to 0.7 ms, as
long as torch's own product of a quarter of this takes."""


class Linear(nn.Linear):
    """`nn.Linear` by `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


def linear(x_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    """x W^T + b, as `F.linear`: the same numbers, rounded differently where oneDNN computes them."""
    single = x_NI.device.type == "cpu" and x_NI.dtype == weight_OI.dtype == torch.float32
    if single and 2.0 * x_NI.numel() * len(weight_OI) >= WORTH and one_dnn_wins():
        return _OneDnn.apply(x_NI, weight_OI, bias_O)
    return F.linear(x_NI, weight_OI, bias_O)


@lru_cache
def one_dnn_wins(processor: Path = Path("/proc/cpuinfo")) -> bool:
    """On AMD's processors with AVX-512, which MKL, torch's choice for float32, uses on Intel's alone (docs/log.md).

    Known, not timed, so that a resumed training rounds as before.
    """
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise") or not processor.exists():
        return False
    text = processor.read_text(encoding="utf-8")
    return "AuthenticAMD" in text and "avx512f" in text.split()


class _OneDnn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
        ctx.save_for_backward(x_NI, weight_OI)
        ctx.biased = bias_O is not None
        return _product(x_NI, weight_OI, bias_O)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x_NI, weight_OI = ctx.saved_tensors
        grad = grads[0].contiguous()
        flat = grad.flatten(0, -2)
        return (
            _product(grad, weight_OI.t()) if ctx.needs_input_grad[0] else None,
            _product(flat.t(), x_NI.flatten(0, -2).t()) if ctx.needs_input_grad[1] else None,
            flat.sum(0) if ctx.biased and ctx.needs_input_grad[2] else None,
        )


def _product(x_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x_NI, weight_OI, bias_O, "none", [], "")
