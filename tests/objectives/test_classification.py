"""Cross entropies against hand-worked numbers."""

import math

import pytest
import torch
import torch.nn.functional as F

from vlp.objectives import answers, grounding, labels, mlm


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
