"""The benchmark compares like with like, counts what it says, and runs to its end at a tiny size."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
import torch

from benchmarks import training
from benchmarks.plain import STAGES, Plain, base, plain_torch, random_batch
from benchmarks.training import check
from tests.models.test_products import always
from vlp.methods.mvptr.model import Mvptr
from vlp.methods.mvptr.steps import PretrainingStep
from vlp.methods.mvptr.tied import Tied
from vlp.models import products
from vlp.models.layers import Packing

ARCHITECTURE = base(1, 60, 70, 64)
TINY = ["--size", "64", "--layers", "1", "--word-rows", "60", "--phrase-rows", "70", "--batch", "4", "--steps", "2"]


@pytest.mark.parametrize("stage", STAGES)
def test_both_versions_compute_the_same_losses(stage: str) -> None:
    torch.manual_seed(0)
    model = Mvptr(ARCHITECTURE).train()
    narrow, wide = (random_batch(4, ARCHITECTURE, 0, full) for full in (False, True))
    assert narrow.words is not None and len(narrow.words.label_M) > 0
    ours, plain = PretrainingStep(model, STAGES[stage]), Plain(model, STAGES[stage])
    check(ours, plain, narrow, wide)
    other = random_batch(4, ARCHITECTURE, 1, full=True)
    with pytest.raises(AssertionError):
        check(ours, plain, narrow, other)


def test_samples_are_the_same_and_only_padding_differs() -> None:
    narrow, wide = (random_batch(5, ARCHITECTURE, 3, full) for full in (False, True))
    assert wide.text_ids_BL.shape[1] == 40 and wide.tag_ids_BT.shape[1] == 20 and wide.regions_BRF.shape[1] == 50
    assert torch.equal(narrow.text_ids_BL[narrow.text_mask_BL], wide.text_ids_BL[wide.text_mask_BL])
    assert torch.equal(narrow.regions_BRF[narrow.region_mask_BR], wide.regions_BRF[wide.region_mask_BR])


def test_the_plain_version_has_nothing_that_makes_ours_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    always(monkeypatch)
    mask, table = torch.tensor([[True, False], [True, True]]), torch.ones(4, 2, requires_grad=True)

    def fast() -> tuple[bool, bool, bool]:
        words = Tied.read(table, torch.tensor([1]), 3).words_VD
        return Packing.of(mask) is not None, products.one_dnn_wins(), "_Read" in type(words.grad_fn).__name__

    with plain_torch():
        assert fast() == (False, False, False)
    assert fast() == (True, True, True)


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_tiny_run(
    precision: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], one_thread: None
) -> None:
    monkeypatch.setattr(sys, "argv", ["training", *TINY, "--threads", "1", "--precision", precision])
    status = training.main()
    printed = capsys.readouterr().out
    assert status == int("MISSED" in printed)
    for stage, losses in STAGES.items():
        part = printed.split(f"\n{stage}: batch 4")[1].split("\nstage")[0]
        shares = next(line for line in part.splitlines() if " time: " in line and "share" in line)
        assert all(f"{name} " in shares for name in losses)
        assert (
            "plain / ours" in part and "matrix products" in part and "Hungarian" in part and "counted on a GPU" in part
        )


def test_a_missed_bound_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert training.bound("share", 0.034, 0.034) and not training.bound("share", 0.035, 0.034)
    assert training.bound("ratio", 1.4, 1.4, least=True) and not training.bound("ratio", 1.39, 1.4, least=True)
    assert capsys.readouterr().out.count("MISSED") == 2
