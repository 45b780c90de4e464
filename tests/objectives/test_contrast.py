"""VSC, hard negatives, WPG and ITM against slow loops; the distributed VSC against one process."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.multiprocessing.spawn import spawn

from vlp.objectives import hard_negatives, itm, s_wpg, vsc, wpg


def unit(g: torch.Generator, *shape: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=g, dtype=torch.float64), dim=-1)


def slow_vsc(text, image, scale, images, texts) -> float:
    n, total = len(text), 0.0
    for i in range(n):
        keep = [j for j in range(n) if j == i or (images[j] != images[i] and texts[j] != texts[i])]
        v2s = [math.exp(scale * float(image[i] @ text[j])) for j in keep]
        s2v = [math.exp(scale * float(text[i] @ image[j])) for j in keep]
        own = keep.index(i)
        total -= (math.log(v2s[own] / sum(v2s)) + math.log(s2v[own] / sum(s2v))) / 2
    return total / n


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.integers(0, 999))
def test_vsc_equals_loop(images: list[int], seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    n = len(images)
    text, image = unit(g, n, 5), unit(g, n, 5)
    texts = torch.arange(n)
    loss = vsc(text, image, torch.tensor(7.0, dtype=torch.float64), torch.tensor(images), texts).mean()
    assert math.isclose(float(loss), slow_vsc(text, image, 7.0, images, texts.tolist()), rel_tol=1e-9)


def _two_ranks(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    data = torch.load(f"{folder}/in.pt", weights_only=True)
    weight = data["weight"].clone().requires_grad_(True)
    log_scale = data["log_scale"].clone().requires_grad_(True)
    half = slice(rank * 4, rank * 4 + 4)
    text, image = (F.normalize(data[k][half] @ weight, dim=-1) for k in ("text", "image"))
    loss = vsc(text, image, log_scale.exp(), data["images"][half], data["texts"][half])
    # As in the loop: times the ranks, over the global count; then the engine's mean over the ranks.
    (loss.total * 2 / 8).backward()
    assert weight.grad is not None and log_scale.grad is not None
    for grad in (weight.grad, log_scale.grad):
        dist.all_reduce(grad)
        grad /= 2
    total = loss.total.detach().clone()
    dist.all_reduce(total)
    if rank == 0:
        torch.save({"loss": total / 8, "weight": weight.grad, "log_scale": log_scale.grad}, f"{folder}/out.pt")
    dist.destroy_process_group()


def test_two_ranks_equal_one(tmp_path: Path) -> None:
    """Loss and every gradient, temperature included; a gather without gradient would have the same loss and fail."""
    g = torch.Generator().manual_seed(3)
    data = {
        "text": torch.randn(8, 6, generator=g, dtype=torch.float64),
        "image": torch.randn(8, 6, generator=g, dtype=torch.float64),
        "weight": torch.randn(6, 5, generator=g, dtype=torch.float64),
        "log_scale": torch.tensor(1.5, dtype=torch.float64),
        "images": torch.tensor([0, 1, 2, 3, 4, 1, 6, 7]),
        "texts": torch.arange(8),
    }
    torch.save(data, tmp_path / "in.pt")
    weight, log_scale = data["weight"].clone().requires_grad_(True), data["log_scale"].clone().requires_grad_(True)
    text, image = (F.normalize(data[k] @ weight, dim=-1) for k in ("text", "image"))
    loss = vsc(text, image, log_scale.exp(), data["images"], data["texts"]).mean()
    loss.backward()
    spawn(_two_ranks, (str(tmp_path),), nprocs=2)
    out = torch.load(tmp_path / "out.pt", weights_only=True)
    torch.testing.assert_close(out["loss"], loss.detach(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(out["weight"], weight.grad, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(out["log_scale"], log_scale.grad, rtol=1e-10, atol=1e-10)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=7), st.integers(0, 999))
def test_negatives_are_other_images_and_texts(images: list[int], seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    n = len(images)
    image, text = torch.tensor(images), torch.randint(0, 3, (n,), generator=g)
    replace = torch.rand(n, generator=g) < 0.5
    found = hard_negatives(torch.randn(n, n, generator=g), image, text, torch.randn(2, n, n, generator=g), replace)
    for i in range(n):
        others = [j for j in range(n) if images[j] != images[i] and text[j] != text[i]]
        assert bool(found.valid_N[i]) == bool(others)
        if others:
            kept, drawn = (found.text_N, found.image_N) if replace[i] else (found.image_N, found.text_N)
            assert int(kept[i]) == i
            assert int(drawn[i]) in others


def test_negatives_are_drawn_from_p() -> None:
    """Gumbel noise gives draws from the softmax: frequencies match within the sampling error."""
    g = np.random.Generator(np.random.PCG64(0))
    logits = torch.tensor([[0.0, 1.0, 2.0]] * 3)
    counts = np.zeros(3)
    for _ in range(4000):
        noise = torch.from_numpy(-np.log(-np.log(g.random((2, 3, 3)))))
        drawn = hard_negatives(logits, torch.arange(3), torch.arange(3), noise, torch.zeros(3, dtype=torch.bool))
        counts[int(drawn.text_N[0])] += 1
    expected = np.exp([1.0, 2.0]) / np.exp([1.0, 2.0]).sum()
    assert counts[0] == 0
    np.testing.assert_allclose(counts[1:] / 4000, expected, atol=0.03)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(0, 999))
def test_s_wpg_equals_loop(b: int, p: int, r: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    phrases, regions = torch.randn(b, p, 4, generator=g), torch.randn(b, r, 4, generator=g)
    has_phrase, has_region = torch.rand(b, p, generator=g) < 0.6, torch.rand(b, r, generator=g) < 0.6
    got = s_wpg(phrases, has_phrase, regions, has_region)
    for i in range(b):
        rows = [regions[i, k] for k in range(r) if has_region[i, k]]
        best = [
            max(float(F.cosine_similarity(phrases[i, j], row, dim=0)) for row in rows)
            for j in range(p)
            if has_phrase[i, j] and rows
        ]
        assert math.isclose(float(got[i]), float(np.mean(best)) if best else 0.0, abs_tol=1e-5)


def test_wpg_hinge() -> None:
    positive, negative = torch.tensor([0.9, 0.5, 0.1]), torch.tensor([0.1, 0.5, 0.9])
    loss = wpg(positive, negative, torch.tensor([True, True, False]))
    assert float(loss.total) == pytest.approx(0.2)
    assert int(loss.count) == 2
    assert float(wpg(positive, negative, torch.zeros(3, dtype=torch.bool)).mean()) == 0.0


def test_itm_leaves_out_what_is_no_negative() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [5.0, 0.0]])
    loss = itm(logits, torch.tensor([True, False, False]), torch.tensor([True, True, False]))
    assert int(loss.count) == 2
    assert float(loss.mean()) == pytest.approx(math.log(1 + math.exp(-2)), rel=1e-5)
