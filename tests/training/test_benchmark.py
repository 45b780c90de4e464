"""The benchmark compares like with like: its plain version computes the same losses."""

from __future__ import annotations

import pytest
import torch

from benchmarks.training import STAGES, Plain, base, check, random_batch, unpacked
from vlp.models.layers import Packing
from vlp.models.mvptr import Mvptr
from vlp.training.steps import PretrainingStep

ARCHITECTURE = base(1, 60, 70, 64)


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


def test_packing_is_off_for_the_plain_version_only() -> None:
    mask = torch.tensor([[True, False], [True, True]])
    with unpacked():
        assert Packing.of(mask) is None
    assert Packing.of(mask) is not None
