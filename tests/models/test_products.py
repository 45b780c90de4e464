"""oneDNN's products, and the table that is read once, give the values and gradients of torch's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.objectives.batches import batch, model
from vlp.methods.mvptr.steps import PretrainingStep
from vlp.methods.mvptr.tied import Tied
from vlp.models import products
from vlp.models.products import linear, one_dnn_wins

LOSSES = ("mcr_visual", "mcr_text", "vsc", "mlm", "itm", "wpg")
needs_op = pytest.mark.skipif(not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="torch without oneDNN")


@pytest.fixture
def one_dnn(monkeypatch: pytest.MonkeyPatch) -> None:
    always(monkeypatch)


def always(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(products, "one_dnn_wins", lambda: True)
    patch.setattr(products, "WORTH", 1)


def gradients(y: Tensor, *of: Tensor) -> list[Tensor]:
    """Of a sum whose terms all differ, so that no gradient is constant."""
    weights = torch.arange(y.numel(), dtype=y.dtype).sin().reshape(y.shape)
    return list(torch.autograd.grad((y * weights).sum(), of))


@needs_op
@settings(deadline=None)
@given(
    leading=st.sampled_from([(1,), (7,), (3, 5), (2, 1, 4)]),
    sizes=st.tuples(st.integers(1, 33), st.integers(1, 33)),
    biased=st.booleans(),
    seed=st.integers(0, 99),
)
def test_values_and_gradients_are_those_of_float64(
    leading: tuple[int, ...], sizes: tuple[int, int], biased: bool, seed: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    inputs, outputs = sizes
    x, w, b = (torch.randn(s, generator=g) for s in ((*leading, inputs), (outputs, inputs), (outputs,)))
    found, want = [], []
    with pytest.MonkeyPatch.context() as patch:
        always(patch)
        for dtype, results in ((torch.float32, found), (torch.float64, want)):
            leaves = [t.to(dtype).requires_grad_() for t in (x, w, b)[: 2 + biased]]
            y = linear(leaves[0], leaves[1], leaves[2] if biased else None)
            assert ("OneDnn" in type(y.grad_fn).__name__) == (dtype == torch.float32)
            results += [y, *gradients(y, *leaves)]
    for ours, exact in zip(found, want, strict=True):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-4, atol=1e-4)


@needs_op
def test_inputs_in_any_layout(one_dnn: None) -> None:
    x, w = torch.randn(6, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    for view in (x.t()[:, :5].t(), x[::2], x[:0]):
        y = linear(view, w, None)
        torch.testing.assert_close(y, view @ w.t())
    total = linear(x, w, None).sum()  # its gradient is one number, expanded
    torch.testing.assert_close(torch.autograd.grad(total, w)[0], x.sum(0).expand(5, 4))


def test_small_products_stay_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "one_dnn_wins", lambda: True)
    y = linear(torch.randn(4, 3, requires_grad=True), torch.randn(2, 3), None)
    assert "OneDnn" not in type(y.grad_fn).__name__


@needs_op
def test_frozen_weights_get_no_gradient(one_dnn: None) -> None:
    x, w = torch.randn(3, 4, requires_grad=True), torch.randn(5, 4)
    linear(x, w, torch.zeros(5)).sum().backward()
    assert w.grad is None
    torch.testing.assert_close(x.grad, w.sum(0).expand(3, 4))


@pytest.mark.parametrize(
    ("vendor", "flags", "wins"),
    [("AuthenticAMD", "avx2 avx512f", True), ("AuthenticAMD", "avx2", False), ("GenuineIntel", "avx512f", False)],
)
def test_chosen_by_processor(tmp_path: Path, vendor: str, flags: str, wins: bool) -> None:
    described = tmp_path / f"{vendor}-{flags}"
    described.write_text(f"vendor_id\t: {vendor}\nflags\t\t: sse {flags} fma\n", encoding="utf-8")
    assert one_dnn_wins(described) is (wins and hasattr(torch.ops.mkldnn, "_linear_pointwise"))
    assert one_dnn_wins(tmp_path / "none") is False


def test_table_has_one_gradient_of_all_its_readers() -> None:
    table = torch.randn(9, 3, dtype=torch.double, requires_grad=True)
    ids, x = torch.tensor([1, 7, 7, 0]), torch.randn(2, 3, dtype=torch.double)

    def total(embedded: Tensor, words: Tensor, phrases: Tensor) -> Tensor:
        return embedded.square().sum() + (x @ words.t()).sin().sum() + (x @ phrases.t()).exp().sum()

    once, apart = Tied.read(table, ids, 6), (F.embedding(ids, table), table[:6], table[6:])
    for used in ((1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1)):
        ours, theirs = (total(*(t if u else t.detach() for t, u in zip(p, used, strict=True))) for p in (once, apart))
        gradient = torch.autograd.grad(ours, table, retain_graph=True)[0]
        torch.testing.assert_close(gradient, torch.autograd.grad(theirs, table, retain_graph=True)[0])


def test_pretraining_reads_the_table_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same losses and gradients where each reader reads for itself, and no other reader than the one."""
    results = []
    for read in (Tied.read, lambda t, ids, words: Tied(F.embedding(ids, t), t[:words], t[words:])):
        monkeypatch.setattr(Tied, "read", read)
        m = model()
        losses = PretrainingStep(m, LOSSES)(batch())
        total = torch.stack([x.mean() for x in losses.values()]).sum()
        total.backward()
        results.append((losses, m.embeddings.weight.grad, _readers(total.grad_fn, m.embeddings.weight)))
    for name, loss in results[0][0].items():
        torch.testing.assert_close(loss.total, results[1][0][name].total)
    torch.testing.assert_close(results[0][1], results[1][1])
    assert [r[2] for r in results] == [1, 3]


def _readers(node: object, leaf: Tensor) -> int:
    """Edges of the graph that lead to the leaf."""
    waiting, known, found = [node], set(), 0
    while waiting:
        for after, _ in getattr(waiting.pop(), "next_functions", ()):
            found += getattr(after, "variable", None) is leaf
            if after is not None and after not in known:
                known.add(after)
                waiting.append(after)
    return found
