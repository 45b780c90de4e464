"""VSC, hard negatives, WPG and ITM against slow loops; the VSC of two ranks against one."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch.multiprocessing.spawn import spawn

from tests.objectives import reference, two_ranks
from tests.objectives.two_ranks import Case, Result
from vlp.batching.order import NOISE, generator
from vlp.methods.mvptr.objectives import s_wpg, wpg
from vlp.objectives import contrast as vsc
from vlp.objectives import hard_negatives, itm

SAMPLES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6), st.booleans()), min_size=1, max_size=8)
"""Image number, text number and whether they match."""
SEEDS = st.integers(0, 999)


def unit(g: torch.Generator, *shape: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=g, dtype=torch.float64), dim=-1)


def columns(samples: list[tuple[int, int, bool]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    images, texts, matchable = zip(*samples, strict=True)
    return torch.tensor(images), torch.tensor(texts), torch.tensor(matchable)


# -- VSC ------------------------------------------------------------------------------------------------------
@settings(max_examples=60, deadline=None)
@given(SAMPLES, st.sampled_from([None, 1, 2, 3, 128]), SEEDS)
def test_vsc_equals_loop(samples: list[tuple[int, int, bool]], group: int | None, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    text, image = unit(g, len(samples), 5), unit(g, len(samples), 5)
    images, texts, matchable = columns(samples)
    want, count = reference.vsc(
        text.tolist(), image.tolist(), 7.0, images.tolist(), texts.tolist(), group, matchable.tolist()
    )
    loss = vsc(text, image, torch.tensor(7.0, dtype=torch.float64), images, texts, group, matchable)
    assert int(loss.count) == count
    assert float(loss.total) == pytest.approx(want, rel=1e-9, abs=1e-12)


def test_vsc_takes_all_samples_for_matchable() -> None:
    g = torch.Generator().manual_seed(0)
    text, image, number = unit(g, 5, 4), unit(g, 5, 4), torch.arange(5)
    scale, every = torch.tensor(3.0, dtype=torch.float64), torch.ones(5, dtype=torch.bool)
    assert torch.equal(
        vsc(text, image, scale, number, number).total,
        vsc(text, image, scale, number, number, None, every).total,
    )


@pytest.mark.parametrize("group", [None, 2])
def test_vsc_gradient(group: int | None) -> None:
    """Temperature included; with a sample that has no match, and one that has no negative."""
    g = torch.Generator().manual_seed(1)
    text, image = (unit(g, 6, 3).requires_grad_(True) for _ in range(2))
    scale = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    images, texts = torch.tensor([0, 1, 2, 2, 4, 5]), torch.tensor([0, 1, 2, 3, 4, 0])
    matchable = torch.tensor([True, True, True, True, False, True])
    assert torch.autograd.gradcheck(
        lambda t, v, s: vsc(t, v, s, images, texts, group, matchable).mean(), (text, image, scale)
    )


@pytest.mark.slow
def test_two_ranks_equal_one(tmp_path: Path) -> None:
    """Loss and every parameter's gradient after ZeRO-2's reduction; a gather without gradient has only the loss."""
    # A group of 4 of each rank's 6 places goes across the ranks.
    honest = [Case(("vsc",)), Case(two_ranks.STAGE_1, contrast_group=4)]
    cut = Case(("vsc",), gather_gradient=False)
    spawn(two_ranks.work, (str(tmp_path), [*honest, cut]), nprocs=two_ranks.RANKS)
    found = [Result(*r) for r in torch.load(tmp_path / "out.pt", weights_only=True)]
    for case, two in zip(honest, found, strict=False):
        one = two_ranks.one_rank(case)
        assert two.values == pytest.approx(one.values, rel=1e-10, abs=1e-10)
        assert two.gradients.keys() == one.gradients.keys()
        assert abs(float(one.gradients["logit_scale"])) > 1e-3
        torch.testing.assert_close(two.gradients, one.gradients, rtol=1e-10, atol=1e-10)
    one, two = two_ranks.one_rank(cut), found[-1]
    assert two.values == pytest.approx(one.values, rel=1e-10, abs=1e-10)
    name = "text_encoder.layers.0.attention.query.weight"
    assert float((two.gradients[name] - one.gradients[name]).norm() / one.gradients[name].norm()) > 0.01
    with pytest.raises(AssertionError):
        torch.testing.assert_close(two.gradients, one.gradients, rtol=1e-10, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_accumulation_equals_one_pass(ranks: int, tmp_path: Path) -> None:
    """MLM and MCR over micro-batches with different numbers of targets; VSC with the embedding cache, without not."""
    exact = [
        Case(("mcr_visual", "mcr_text", "mlm"), accumulation=2),
        Case(("vsc",), accumulation=3, embedding_cache=True),
        Case((*two_ranks.STAGE_1, "mlm"), accumulation=2, embedding_cache=True),
        Case(("vsc",), contrast_group=4, accumulation=2, embedding_cache=True),
    ]
    narrower = Case(("vsc",), accumulation=2)
    spawn(two_ranks.work, (str(tmp_path), [*exact, narrower], ranks), nprocs=ranks)
    found = [Result(*r) for r in torch.load(tmp_path / "out.pt", weights_only=True)]
    for case, got in zip(exact, found, strict=False):
        one = two_ranks.one_rank(case)
        assert got.values == pytest.approx(one.values, rel=1e-10, abs=1e-10)
        torch.testing.assert_close(got.gradients, one.gradients, rtol=1e-10, atol=1e-10)
    assert found[-1].values["loss"] < two_ranks.one_rank(narrower).values["loss"] - 0.1  # fewer negatives


# -- hard negatives ---------------------------------------------------------------------------------------------
@settings(max_examples=60, deadline=None)
@given(SAMPLES, SEEDS)
def test_negatives_are_other_images_and_texts(samples: list[tuple[int, int, bool]], seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    n = len(samples)
    images, texts, matchable = columns(samples)
    replace = torch.rand(n, generator=g) < 0.5
    noise = torch.randn(2, n, n, generator=g)
    found = hard_negatives(torch.randn(n, n, generator=g), images, texts, noise, replace, matchable)
    for i in range(n):
        others = reference.negatives_of(i, images.tolist(), texts.tolist(), matchable.tolist())
        assert bool(found.valid_N[i]) == bool(others)
        if others:
            kept, drawn = (found.text_N, found.image_N) if replace[i] else (found.image_N, found.text_N)
            assert int(kept[i]) == i
            assert int(drawn[i]) in others
            assert int(found.hard_image_B[i]) in others
            assert not replace[i] or int(found.hard_image_B[i]) == int(found.image_N[i])


@pytest.mark.parametrize("vsc_is_on", [True, False])
def test_negatives_are_drawn_from_p(vsc_is_on: bool) -> None:
    """Frequencies over the counters' noise against p(s2v) and p(v2s), or uniform: chi-square for each row."""
    images, texts = torch.tensor([0, 1, 2, 3, 3, 5]), torch.tensor([0, 1, 2, 3, 4, 0])
    matchable = torch.tensor([True, True, False, True, True, True])
    g, n, draws = torch.Generator().manual_seed(5), len(images), 3000
    similarity = 1.5 * torch.randn(n, n, generator=g) if vsc_is_on else None
    counts = np.zeros((2, n, n))
    for step in range(draws):
        uniform = generator(7, NOISE, step, 0).random((2, n, n)).clip(1e-12, 1 - 1e-12)
        noise = torch.from_numpy(-np.log(-np.log(uniform)))
        drawn = hard_negatives(similarity, images, texts, noise, torch.zeros(n, dtype=torch.bool), matchable)
        for i in range(n):
            counts[0, i, int(drawn.hard_image_B[i])] += 1
            counts[1, i, int(drawn.text_N[i])] += 1
    u = None if similarity is None else similarity.tolist()
    expected = reference.draw_probabilities(u, images.tolist(), texts.tolist(), matchable.tolist())
    for seen, p in zip(counts, expected, strict=True):
        for i in (0, 1, 3, 4, 5):
            row = np.asarray(p[i])
            assert seen[i][row == 0].sum() == 0
            assert chisquare(seen[i][row > 0], draws * row[row > 0]).pvalue > 1e-3


# -- WPG --------------------------------------------------------------------------------------------------------
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), SEEDS)
def test_s_wpg_equals_loop(b: int, p: int, r: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    phrases, regions = (torch.randn(b, k, 4, generator=g, dtype=torch.float64) for k in (p, r))
    has_phrase, has_region = torch.rand(b, p, generator=g) < 0.6, torch.rand(b, r, generator=g) < 0.6
    got = s_wpg(phrases, has_phrase, regions, has_region)
    for i in range(b):
        want = reference.s_wpg(*(x[i].tolist() for x in (phrases, has_phrase, regions, has_region)))
        assert float(got[i]) == pytest.approx(want, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.booleans()), min_size=1, max_size=6))
def test_wpg_equals_loop(pairs: list[tuple[float, float, bool]]) -> None:
    positive, negative, valid = zip(*pairs, strict=True)
    total, count = reference.wpg(positive, negative, valid)
    p, n = (torch.tensor(x, dtype=torch.float64) for x in (positive, negative))
    loss = wpg(p, n, torch.tensor(valid))
    assert int(loss.count) == count
    assert float(loss.total) == pytest.approx(total, abs=1e-12)


def test_wpg_hinge() -> None:
    positive, negative = torch.tensor([0.9, 0.5, 0.1]), torch.tensor([0.1, 0.5, 0.9])
    loss = wpg(positive, negative, torch.tensor([True, True, False]))
    assert float(loss.total) == pytest.approx(0.2)
    assert int(loss.count) == 2
    assert float(wpg(positive, negative, torch.zeros(3, dtype=torch.bool)).mean()) == 0.0


def test_wpg_gradient() -> None:
    """Through the score too; the second text has no phrase, the third image no region."""
    g = torch.Generator().manual_seed(2)
    phrases, regions, other = (
        torch.randn(4, k, 3, generator=g, dtype=torch.float64, requires_grad=True) for k in (2, 3, 3)
    )
    has_phrase = torch.tensor([[True, True], [False, False], [True, False], [True, True]])
    has_region = torch.tensor([[True, True, False], [True, True, True], [False] * 3, [True, False, False]])
    own_image = torch.tensor([True, True, True, False])

    def loss(c: torch.Tensor, r: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        positive, negative = s_wpg(c, has_phrase, r, has_region), s_wpg(c, has_phrase, n, has_region)
        return wpg(positive, negative, has_phrase.any(1) & own_image).mean()

    assert torch.autograd.gradcheck(loss, (phrases, regions, other))


# -- ITM --------------------------------------------------------------------------------------------------------
@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=6), SEEDS)
def test_itm_equals_loop(pairs: list[tuple[bool, bool]], seed: int) -> None:
    matched, valid = zip(*pairs, strict=True)
    logits = 4 * torch.randn(len(pairs), 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    total, count = reference.itm(logits.tolist(), matched, valid)
    loss = itm(logits, torch.tensor(matched), torch.tensor(valid))
    assert int(loss.count) == count
    assert float(loss.total) == pytest.approx(total, rel=1e-9, abs=1e-12)
    assert math.isfinite(loss.mean().item())


def test_itm_leaves_out_what_is_no_negative() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [5.0, 0.0]])
    loss = itm(logits, torch.tensor([True, False, False]), torch.tensor([True, True, False]))
    assert int(loss.count) == 2
    assert float(loss.mean()) == pytest.approx(math.log(1 + math.exp(-2)), rel=1e-5)


def test_itm_gradient() -> None:
    logits = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    matched, valid = torch.tensor([True, True, False, False]), torch.tensor([True, False, True, False])
    assert torch.autograd.gradcheck(lambda x: itm(x, matched, valid).mean(), (logits,))
