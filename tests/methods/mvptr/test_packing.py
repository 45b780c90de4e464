"""Removing padding changes neither states nor gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.batching.draws import draw
from tests.methods.mvptr.tiny import architecture, batch
from vlp.methods.mvptr.batch import Targets
from vlp.methods.mvptr.model import Mvptr
from vlp.methods.mvptr.reader import add_negative_noise
from vlp.methods.mvptr.steps import PretrainingStep
from vlp.models.layers import Encoder, Packing

Switch = Callable[[], None]
LOSSES = ("mcr_visual", "mcr_text", "vsc", "mlm", "itm", "wpg")


@pytest.fixture
def padded(monkeypatch: pytest.MonkeyPatch) -> Switch:
    """Call it to switch packing off."""
    return lambda: monkeypatch.setattr(Packing, "of", classmethod(lambda cls, mask: None))


def encoder() -> tuple[Encoder, Tensor, Tensor]:
    torch.manual_seed(0)
    mask = torch.arange(9) < torch.tensor([9, 4, 1, 7])[:, None]
    return Encoder(3, 16, 2, 24, 0.0, 0.0).double(), torch.randn(4, 9, 16, dtype=torch.double), mask


@pytest.mark.parametrize("first_row_only", [False, True])
def test_states_and_gradients_are_those_of_the_padded_encoder(first_row_only: bool, padded: Switch) -> None:
    module, x, mask = encoder()
    results = []
    for switch_off in (lambda: None, padded):
        switch_off()
        module.zero_grad()
        inputs = x.clone().requires_grad_()
        states = module(inputs, mask, first_row_only)
        valid = [s[:, 0] if s.shape[1] == 1 else s[mask] for s in states]
        torch.stack([s.square().mean() * (i + 1) for i, s in enumerate(valid)]).sum().backward()
        assert inputs.grad is not None
        results.append(
            [*valid, inputs.grad[mask], *(p.grad.clone() for p in module.parameters() if p.grad is not None)]
        )
    assert len(results[0]) == len(results[1]) > 10
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_invalid_positions_are_not_computed() -> None:
    module, x, mask = encoder()
    states = module(x, mask)
    assert all((s[~mask] == 0).all() for s in states)
    poisoned = torch.where(mask[..., None], x, torch.nan)
    torch.testing.assert_close(module(poisoned, mask)[-1], states[-1], rtol=0, atol=0)


def test_nothing_is_packed_without_padding_or_without_a_first_position() -> None:
    assert Packing.of(torch.ones(2, 3, dtype=torch.bool)) is None
    assert Packing.of(torch.tensor([[False, True], [True, True]])) is None
    assert Packing.of(torch.ones(2, 3, dtype=torch.bool, device="meta")) is None


def test_all_losses_and_gradients_of_pretraining(padded: Switch) -> None:
    torch.manual_seed(0)
    model = Mvptr(architecture()).double()
    b = add_negative_noise(batch(4, pad=2), draw(4))
    b.regions_BRF = b.regions_BRF.double()
    rows = torch.arange(4)
    b.words = b.tags = Targets(rows, torch.ones_like(rows), rows + 6, rows)
    b.phrases = Targets(rows, torch.ones_like(rows), rows, rows)
    step, results = PretrainingStep(model, LOSSES).train(), []
    for switch_off in (lambda: None, padded):
        switch_off()
        model.zero_grad()
        losses = step(b)
        torch.stack([x.total for x in losses.values()]).sum().backward()
        gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        results.append({n: x.total.detach() for n, x in losses.items()} | gradients)
    assert results[0].keys() == results[1].keys() > set(LOSSES)
    for name, ours in results[0].items():
        torch.testing.assert_close(ours, results[1][name], rtol=1e-8, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")
