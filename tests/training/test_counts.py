"""A loss is the mean over the targets of the whole batch, however it is shared."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vlp.objectives import LossSum
from vlp.training import counts


@given(st.floats(0.1, 9.0), st.floats(0.1, 9.0), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))
def test_unequal_micro_batches_give_the_mean_over_all_targets(a: float, b: float, n: int, m: int, parts: int) -> None:
    """The engine divides by `parts`; what is left is the sum over all targets divided by their number."""
    targets = {"mlm": torch.tensor(float(n + m), dtype=torch.float64)}
    found = [
        counts.normalised({"mlm": LossSum.of(torch.tensor(x, dtype=torch.float64), k)}, targets, parts) / parts
        for x, k in ((a, n), (b, m))
    ]
    assert float(torch.stack(found).sum()) == pytest.approx((a + b) / (n + m), rel=1e-12)


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_a_loss_that_is_not_finite_has_no_finite_gradient(bad: float) -> None:
    """Also where the loss's own gradient would be finite."""
    x = torch.tensor([2.0, 3.0], requires_grad=True)
    loss = LossSum.of(x.sum() + bad, 1)
    counts.normalised({"mlm": loss}, {"mlm": torch.tensor(1.0)}, 1).backward()
    assert x.grad is not None and bool(x.grad.isnan().all())
