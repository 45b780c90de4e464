"""MCR against an obvious implementation: every permutation is tried."""

from itertools import permutations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vlp.objectives import mcr


def brute_force(logits: torch.Tensor, label: torch.Tensor, concept: list[int], sample: list[int]) -> float:
    """Eq. 1 and 2 by trying every order of the concepts of a sample that have equally many pieces."""
    log_p = torch.log_softmax(logits, -1)
    rows: dict[int, list[int]] = {}
    for m, c in enumerate(concept):
        rows.setdefault(c, []).append(m)
    groups: dict[tuple[int, int], list[int]] = {}
    for c, at in rows.items():
        groups.setdefault((sample[at[0]], len(at)), []).append(c)
    total = 0.0
    for members in groups.values():
        orders = []
        for order in permutations(members):
            entropies = [
                [-float(log_p[m, label[n]]) for m, n in zip(rows[c], rows[d], strict=True)]
                for c, d in zip(members, order, strict=True)
            ]
            cost = sum(float(np.mean([1 - np.exp(-e) for e in piece])) for piece in entropies)
            orders.append((cost, sum(float(np.mean(piece)) for piece in entropies)))
        total += min(orders)[1]
    return total


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(1, 3), max_size=4), min_size=1, max_size=3), st.integers(0, 10_000))
def test_equals_brute_force(pieces_of_samples: list[list[int]], seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    concept, sample, number = [], [], 0
    for s, pieces in enumerate(pieces_of_samples):
        for n in pieces:
            concept += [number] * n
            sample += [s] * n
            number += 1
    logits = torch.randn(len(concept), 7, generator=g, dtype=torch.float64)
    label = torch.randint(0, 7, (len(concept),), generator=g)
    loss = mcr(logits, label, torch.tensor(concept, dtype=torch.long), torch.tensor(sample, dtype=torch.long))
    assert int(loss.count) == number
    np.testing.assert_allclose(float(loss.total), brute_force(logits, label, concept, sample), rtol=1e-9, atol=1e-9)


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


def test_gradient() -> None:
    logits = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    label, concept, sample = torch.tensor([0, 1, 2]), torch.tensor([0, 1, 2]), torch.tensor([0, 0, 0])
    assert torch.autograd.gradcheck(lambda x: mcr(x, label, concept, sample).mean(), (logits,))
