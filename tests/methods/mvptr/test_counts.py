"""The targets that are counted before the forward pass are those that the losses turn out to have."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.batching.draws import draw
from tests.objectives.batches import batch, model
from vlp.methods.mvptr.batch import Batch
from vlp.methods.mvptr.model import Mvptr
from vlp.methods.mvptr.reader import add_negative_noise
from vlp.methods.mvptr.steps import ClassesStep, GroundingStep, PretrainingStep, RetrievalStep, VqaStep

ALL = ("mcr_visual", "mcr_text", "vsc", "mlm", "itm", "wpg")


def same(step: torch.nn.Module, b: Batch) -> None:
    with torch.no_grad():
        found = step(b)
    planned = step.counts(b)  # type: ignore[operator]
    assert list(planned) and planned == {name: int(loss.count) for name, loss in found.items()}


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 7), st.integers(0, 99), st.booleans(), st.sampled_from(["replaced", "all"]))
def test_of_pretraining(size: int, seed: int, questions: bool, wpg_negatives) -> None:
    b = batch(size, seed)
    if questions:
        b.matchable_B = torch.arange(size) % 3 != 1
    b.image_B[size // 2] = b.image_B[0]
    same(PretrainingStep(model(), ALL, wpg_negatives=wpg_negatives), b)
    same(PretrainingStep(model(), ("mcr_visual", "mcr_text", "vsc")), b)
    same(RetrievalStep(model()), b)


def test_of_groups_of_negatives() -> None:
    b = add_negative_noise(batch(6), draw(6), group=2)
    b.image_B[1] = b.image_B[0]  # these two have no negative in their group
    step = PretrainingStep(model(), ALL)
    same(step, b)
    assert step.counts(b)["itm"] == 6 + 4


def test_of_merged_attention() -> None:
    a = model().architecture.model_copy(update={"fusion": "merged", "text_layers": 0, "visual_layers": 0})
    merged = Mvptr(a).double().eval()
    same(PretrainingStep(merged, ("mcr_visual", "mcr_text", "mlm", "itm", "wpg")), batch(5))
    same(RetrievalStep(merged), batch(5))


def test_of_the_tasks() -> None:
    a, b = model().architecture, batch(4)
    b.scores_BA = torch.rand(4, 7, dtype=torch.float64)
    same(VqaStep(Mvptr(a.model_copy(update={"head": "vqa", "head_size": 7})).double()), b)
    b.labels_B = torch.tensor([0, 1, 2, 0])
    same(ClassesStep(Mvptr(a.model_copy(update={"head": "entailment"})).double()), b)
    b.span_mask_BGL = torch.zeros(4, 2, b.text_ids_BL.shape[1], dtype=torch.bool)
    b.span_mask_BGL[..., 1:3] = True
    b.iou_BGR = torch.rand(4, 2, b.regions_BRF.shape[1], dtype=torch.float64)
    b.grounded_BG = torch.tensor([[True, False], [True, True], [False, False], [True, True]])
    same(GroundingStep(model(), 1, "mse"), b)
