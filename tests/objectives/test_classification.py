"""Cross entropies against hand-worked numbers and slow loops."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.objectives import reference
from vlp.objectives import answers, grounding, labels, mlm

SEEDS = st.integers(0, 999)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=6), SEEDS)
def test_mlm_equals_loop(label: list[int], seed: int) -> None:
    logits = normal(seed, len(label), 6)
    loss = mlm(logits, torch.tensor(label, dtype=torch.long))
    total, count = reference.mlm(logits.tolist(), label)
    assert int(loss.count) == count
    assert float(loss.total) == pytest.approx(total, rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), SEEDS)
def test_answers_equals_loop(size: int, number: int, seed: int) -> None:
    logits, scores = normal(seed, size, number), uniform(seed, size, number)
    loss = answers(logits, scores)
    total, count = reference.answers(logits.tolist(), scores.tolist())
    assert int(loss.count) == count
    assert float(loss.total) == pytest.approx(total, rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(*(st.integers(1, 3) for _ in range(3)), st.sampled_from(["mse", "cross_entropy"]), SEEDS)
def test_grounding_equals_loop(b: int, g: int, r: int, objective: str, seed: int) -> None:
    cosine, iou, valid = 2 * uniform(seed, b, g, r) - 1, uniform(seed + 1, b, g, r), uniform(seed + 2, b, g, r) < 0.6
    loss = grounding(cosine, iou, valid, objective)
    total, count = reference.grounding(cosine.tolist(), iou.tolist(), valid.tolist(), objective)
    assert int(loss.count) == count
    assert float(loss.total) == pytest.approx(total, rel=1e-9, abs=1e-12)
    assert math.isfinite(float(loss.mean()))


def test_gradients() -> None:
    def check(function, x: torch.Tensor) -> bool:
        return torch.autograd.gradcheck(lambda y: function(y).mean(), (x.requires_grad_(True),))

    label, valid = torch.tensor([0, 2, 1]), uniform(1, 2, 2, 3) < 0.7
    scores, iou = uniform(2, 3, 4), uniform(3, 2, 2, 3)
    assert check(lambda x: mlm(x, label), normal(4, 3, 5))
    assert check(lambda x: labels(x, label), normal(5, 3, 3))
    assert check(lambda x: answers(x, scores), normal(6, 3, 4))
    for objective in ("mse", "cross_entropy"):
        assert check(lambda x, o=objective: grounding(x, iou, valid, o), 2 * uniform(7, 2, 2, 3) - 1)


def test_mlm_sums_over_masked_tokens() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]))
    loss = mlm(logits, torch.tensor([0, 1]))
    assert int(loss.count) == 2
    assert float(loss.total) == pytest.approx(-math.log(0.5) - math.log(0.8), rel=1e-5)


def test_mlm_without_masks_is_zero() -> None:
    logits = torch.zeros(0, 3, requires_grad=True)
    assert mlm(logits, torch.zeros(0, dtype=torch.long)).mean() == 0


def test_answers_is_the_sum_over_answers() -> None:
    logits, scores = torch.tensor([[0.0, 2.0]]), torch.tensor([[0.3, 1.0]])
    p = torch.sigmoid(logits)
    expected = -(scores * p.log() + (1 - scores) * (1 - p).log()).sum()
    torch.testing.assert_close(answers(logits, scores).mean(), expected)


def test_labels() -> None:
    logits = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 3.0]])
    want = F.cross_entropy(logits, torch.tensor([0, 2]))
    torch.testing.assert_close(labels(logits, torch.tensor([0, 2])).mean(), want)


@pytest.mark.parametrize("objective", ["mse", "cross_entropy"])
def test_grounding_is_least_at_the_truth_and_reads_valid_pairs_only(objective: str) -> None:
    iou = torch.tensor([[[1.0, 0.0, 0.7]]])
    valid = torch.tensor([[[True, True, False]]])
    # The cross entropy reads (cosine + 1) / 2 as the probability.
    truth = iou if objective == "mse" else 2 * iou - 1
    right = grounding(truth, iou, valid, objective)
    wrong = grounding(-truth, iou, valid, objective)
    assert int(right.count) == 2
    assert float(right.mean()) < 1e-4 < float(wrong.mean())
    changed = truth.clone()
    changed[..., 2] = -0.3
    torch.testing.assert_close(grounding(changed, iou, valid, objective).total, right.total)
