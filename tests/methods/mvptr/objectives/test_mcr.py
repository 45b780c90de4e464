"""MCR against an obvious implementation: every permutation is tried."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.objectives import reference
from vlp.methods.mvptr.objectives import Masked, mcr, mcr_cost, mcr_loss
from vlp.objectives import LossSum

SAMPLES = st.lists(st.lists(st.integers(1, 3), max_size=4), min_size=1, max_size=3)
"""Pieces of each masked concept of each sample; a sample may have none."""


def masked(pieces_of_samples: list[list[int]], seed: int, candidates: int = 7) -> Masked:
    g = torch.Generator().manual_seed(seed)
    concept, sample, number = [], [], 0
    for s, pieces in enumerate(pieces_of_samples):
        for n in pieces:
            concept += [number] * n
            sample += [s] * n
            number += 1
    logits = 3 * torch.randn(len(concept), candidates, generator=g, dtype=torch.float64)
    label = torch.randint(0, candidates, (len(concept),), generator=g)
    return Masked(logits, label, torch.tensor(concept, dtype=torch.long), torch.tensor(sample, dtype=torch.long))


@settings(max_examples=60, deadline=None)
@given(SAMPLES, st.integers(0, 10_000))
def test_equals_brute_force(pieces_of_samples: list[list[int]], seed: int) -> None:
    m = masked(pieces_of_samples, seed)
    total, count = reference.mcr(*(x.tolist() for x in m))
    loss = mcr(*m)
    assert int(loss.count) == count == sum(map(len, pieces_of_samples))
    assert float(loss.total) == pytest.approx(total, rel=1e-9, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(SAMPLES, SAMPLES, st.integers(0, 10_000))
def test_one_copy_for_two_losses_is_one_for_each(tags: list[list[int]], phrases: list[list[int]], seed: int) -> None:
    """Bit for bit: sharing the copy changes where the numbers stand, not what they are."""
    both = masked(tags, seed), masked(phrases, seed + 1, 4)
    pending = mcr_cost(*both)
    assert pending[0].copy is pending[1].copy
    for p, alone in zip(pending, both, strict=True):
        shared, apart = mcr_loss(p), mcr(*alone)
        assert torch.equal(shared.total, apart.total) and torch.equal(shared.count, apart.count)


@settings(max_examples=15, deadline=None)
@given(SAMPLES.filter(any), st.integers(0, 10_000))
def test_gradient(pieces_of_samples: list[list[int]], seed: int) -> None:
    """Random predictions have no tie, so the matching is the same in the neighbourhood."""
    m = masked(pieces_of_samples, seed, 4)
    logits = m.logits_MV.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: mcr(x, *m[1:]).mean(), (logits,))


def test_half_precision_is_not_computed_in() -> None:
    m = masked([[1, 1], [2]], 0)
    low = m.logits_MV.bfloat16()
    loss: LossSum = mcr(low, *m[1:])
    assert loss.total.dtype == torch.float32
    assert float(loss.total) == pytest.approx(float(mcr(low.double(), *m[1:]).total), rel=1e-6)


def test_order_of_two_tags_does_not_matter() -> None:
    logits = torch.randn(2, 5, dtype=torch.float64)
    concept, sample = torch.tensor([0, 1]), torch.tensor([0, 0])
    one = mcr(logits, torch.tensor([1, 3]), concept, sample).total
    other = mcr(logits, torch.tensor([3, 1]), concept, sample).total
    assert torch.allclose(one, other)


def test_tags_of_two_images_are_not_exchanged() -> None:
    logits = torch.tensor([[0.0, 9.0], [9.0, 0.0]])
    label, concept = torch.tensor([0, 1]), torch.tensor([0, 1])
    together = mcr(logits, label, concept, torch.tensor([0, 0])).total
    apart = mcr(logits, label, concept, torch.tensor([0, 1])).total
    assert together < 0.01
    assert apart > 17


def test_nothing_masked_is_zero_with_a_gradient() -> None:
    logits = torch.zeros(0, 5, requires_grad=True)
    empty = torch.zeros(0, dtype=torch.long)
    loss = mcr(logits, empty, empty, empty)
    assert loss.mean() == 0
    loss.mean().backward()
    assert logits.grad is not None


def test_losses_that_share_a_copy_wait_for_it_once() -> None:
    pending, event = mcr_cost(masked([[1, 1]], 0), masked([[2, 2, 1]], 1)), mock.Mock()
    assert pending[0].copy is pending[1].copy
    pending[0].copy._arrived = event
    assert [float(mcr_loss(p).count) for p in pending] == [2, 3]
    event.synchronize.assert_called_once_with()
