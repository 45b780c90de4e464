"""Readings of the divergence ledger (docs/divergences.md) that are of single equations."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vlp.methods.mvptr.objectives import mcr
from vlp.objectives import contrast as vsc
from vlp.objectives import hard_negatives, itm


def test_a_tag_counts_once_however_many_pieces_it_has() -> None:
    logits = torch.randn(4, 6, dtype=torch.float64)
    label, sample = torch.tensor([0, 1, 2, 3]), torch.tensor([0, 0, 0, 1])
    loss = mcr(logits, label, torch.tensor([0, 0, 0, 1]), sample)
    each = F.cross_entropy(logits, label, reduction="none")
    assert int(loss.count) == 2
    torch.testing.assert_close(loss.mean(), (each[:3].mean() + each[3]) / 2)


def test_tags_of_unequal_piece_counts_are_not_exchanged() -> None:
    """Exchanging would cost next to nothing; two tags of one image stay in order all the same."""
    logits = torch.tensor([[0.0, 9.0, 0.0], [9.0, 0.0, 0.0], [0.0, 0.0, 9.0]], dtype=torch.float64)
    label, sample = torch.tensor([0, 1, 2]), torch.zeros(3, dtype=torch.long)
    loss = mcr(logits, label, torch.tensor([0, 1, 1]), sample)
    each = F.cross_entropy(logits, label, reduction="none")
    torch.testing.assert_close(loss.total, each[0] + each[1:].mean())
    assert float(mcr(logits, label, torch.tensor([0, 1, 2]), sample).total) < 0.01 < float(loss.total)


def test_equal_texts_are_no_negatives_of_vsc() -> None:
    text, image = (F.normalize(torch.randn(3, 4, dtype=torch.float64), dim=-1) for _ in range(2))
    scale = torch.tensor(3.0, dtype=torch.float64)
    loss = vsc(text, image, scale, torch.arange(3), torch.tensor([5, 5, 6])).mean()
    u = scale * image @ text.T
    hidden = torch.zeros(3, 3, dtype=torch.bool)
    hidden[0, 1] = hidden[1, 0] = True
    own = torch.arange(3)
    both = [F.cross_entropy(x.masked_fill(hidden, -torch.inf), own) for x in (u, u.T)]
    torch.testing.assert_close(loss, (both[0] + both[1]) / 2)


def test_negatives_without_a_similarity_are_uniform() -> None:
    g = np.random.Generator(np.random.PCG64(0))
    counts = np.zeros((2, 4))
    for _ in range(3000):
        noise = torch.from_numpy(-np.log(-np.log(g.random((2, 4, 4)))))
        replace = torch.tensor([True, False, True, False])
        drawn = hard_negatives(None, torch.arange(4), torch.arange(4), noise, replace)
        counts[0, int(drawn.image_N[0])] += 1
        counts[1, int(drawn.text_N[1])] += 1
    assert counts[0, 0] == counts[1, 1] == 0
    np.testing.assert_allclose(counts[counts > 0] / 3000, 1 / 3, atol=0.03)


def test_class_0_is_match() -> None:
    sure = torch.tensor([[9.0, 0.0], [0.0, 9.0]])
    right, every = torch.tensor([True, False]), torch.ones(2, dtype=torch.bool)
    assert float(itm(sure, right, every).mean()) < 0.001
    assert float(itm(sure, ~right, every).mean()) == pytest.approx(9.0, abs=0.001)
