"""What `PretrainingStep` does with its settings and with samples that have no match."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.objectives.batches import batch, model
from vlp.config.training import Optimisation
from vlp.methods.mvptr import reader, steps
from vlp.methods.mvptr.batch import Batch
from vlp.methods.mvptr.config import Loss
from vlp.methods.mvptr.objectives import mcr, s_wpg, wpg
from vlp.methods.mvptr.reader import Collator
from vlp.methods.mvptr.steps import PretrainingStep, RetrievalStep, matched_and_negative
from vlp.objectives import LossSum


def run(b: Batch, losses: tuple[str, ...] = get_args(Loss), **settings) -> dict[str, LossSum]:
    return PretrainingStep(model(), losses, **settings)(b)


@pytest.mark.parametrize("group", [1, 2, 3])
def test_contrast_group_is_the_sum_over_the_groups(group: int) -> None:
    b = batch(6)
    m = model()
    text, image = m.contrast_vectors(m.unimodal(b))
    found = run(b, ("vsc",), contrast_group=group)["vsc"]
    cuts = [slice(i, i + group) for i in range(0, 6, group)]
    parts = [steps.vsc(text[c], image[c], m.scale(), b.image_B[c], b.text_B[c]) for c in cuts]
    assert int(found.count) == 6
    torch.testing.assert_close(found.total, torch.stack([p.total for p in parts]).sum(), rtol=1e-12, atol=1e-12)
    retrieval = RetrievalStep(model(), group)(b)["vsc"]
    torch.testing.assert_close(retrieval.total, found.total, rtol=1e-12, atol=1e-12)


def test_contrast_group_must_divide_what_is_compared() -> None:
    o = {"epochs": 1, "batch_size": 24, "learning_rate": 1e-3}
    assert Optimisation.model_validate(o).contrast_group is None
    assert Optimisation.model_validate(o | {"accumulation": 2, "contrast_group": 4}).contrast_group == 4
    for wrong in ({"contrast_group": 5}, {"contrast_group": 8, "accumulation": 2}, {"contrast_group": 0}):
        with pytest.raises(ValueError, match="contrast_group"):
            Optimisation.model_validate(o | wrong)


@pytest.mark.parametrize("size", [1, 2, 5, 6])
def test_wpg_for_all_texts_encodes_the_other_half_too(size: int) -> None:
    """Against one joint encoding for each text and its hard image, one at a time."""
    b, m = batch(size, seed=4, phrases=2), model()
    states = m.unimodal(b)
    text, image = m.contrast_vectors(states)
    coarse = m.scale() * steps.similarity(text, image)
    assert b.gumbel_2BG is not None and b.replace_image_B is not None
    hard = steps.hard_negatives(coarse, b.image_B, b.text_B, b.gumbel_2BG, b.replace_image_B).hard_image_B
    layer, length = m.architecture.grounding_layer - 1, b.text_ids_BL.shape[1]

    def score(i: int, k: int) -> Tensor:
        """S^wpg of text i with image k."""
        one, other = slice(i, i + 1), slice(k, k + 1)
        x = m.multimodal(states.text_BLD[one], b.text_mask_BL[one], states.regions_BRD[other], b.region_mask_BR[other])[
            layer
        ]
        return s_wpg(x[:, b.phrase_positions_BP[i]], b.phrase_mask_BP[one], x[:, length:], b.region_mask_BR[other])[0]

    positive = torch.stack([score(i, i) for i in range(size)])
    negative = torch.stack([score(i, int(hard[i])) for i in range(size)])
    others = torch.full((size,), size > 1)
    for setting, texts in (("all", others), ("replaced", b.replace_image_B & others)):
        found, want = run(b, wpg_negatives=setting)["wpg"], wpg(positive, negative, texts)
        assert int(found.count) == int(want.count)
        torch.testing.assert_close(found.total, want.total, rtol=1e-9, atol=1e-12)
    for name in ("mlm", "itm", "vsc"):
        torch.testing.assert_close(run(b, wpg_negatives="all")[name].total, run(b)[name].total, rtol=1e-12, atol=1e-12)


def test_only_wpg_pays_for_further_pairs() -> None:
    b, m = batch(6), model()
    assert len(matched_and_negative(m, b, m.unimodal(b), None, True).rest_E) == 0
    assert len(matched_and_negative(m, b, m.unimodal(b), None, True, every_text=True).rest_E) == 3
    encoded: list[int] = []
    step = PretrainingStep(m, ("itm", "mlm"), wpg_negatives="all")
    m.multimodal_encoder.register_forward_pre_hook(lambda _m, args: encoded.append(len(args[0])))
    step(b)
    assert encoded == [12]


def test_a_batch_without_any_match_has_only_the_masked_losses() -> None:
    b = batch(4)
    b.matchable_B = torch.zeros(4, dtype=torch.bool)
    found = run(b, wpg_negatives="all")
    assert {name for name, x in found.items() if float(x.count)} == {"mcr_visual", "mcr_text", "mlm"}
    total = torch.stack([x.mean() for x in found.values()]).sum()
    total.backward()
    assert bool(total.isfinite())
    assert float(found["vsc"].total.detach()) == float(found["itm"].total.detach()) == 0.0


def test_everything_is_finite_at_one_sample_one_region_and_nothing_masked() -> None:
    b = batch(1, phrases=0)
    b.region_mask_BR[:, 1:] = False
    nothing = torch.zeros(0, dtype=torch.long)
    for name in ("words", "phrases", "tags"):
        setattr(b, name, type(b.words)(nothing, nothing, nothing, nothing))  # type: ignore[misc]
    m = model()
    found = PretrainingStep(m, get_args(Loss), wpg_negatives="all")(b)
    assert {name: float(x.count) for name, x in found.items() if float(x.count)} == {"vsc": 1.0, "itm": 1.0}
    torch.stack([x.mean() for x in found.values()]).sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in m.parameters() if p.grad is not None)


def test_matching_is_picked_up_after_the_multimodal_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """One copy is launched for both MCR losses, the multimodal forward runs, then the host reads it."""
    from vlp.methods.mvptr.objectives.mcr import HostCopy

    happened: list[str] = []

    def spy(owner: type, name: str, label: str) -> None:
        original = getattr(owner, name)

        def wrapped(self: object, *args: object) -> object:
            happened.append(label)
            return original(self, *args)

        monkeypatch.setattr(owner, name, wrapped)

    spy(HostCopy, "__init__", "launched")
    spy(HostCopy, "numpy", "read")
    b, m = batch(6), model()
    m.multimodal_encoder.register_forward_hook(lambda *_: happened.append("multimodal"))
    found = PretrainingStep(m, get_args(Loss))(b)
    assert happened[:3] == ["launched", "multimodal", "read"] and happened.count("launched") == 1
    states = m.unimodal(b)
    for name, t, x, head in (
        ("mcr_visual", b.tags, states.tags_BTD, m.tag_logits),
        ("mcr_text", b.phrases, states.text_BLD, m.phrase_logits),
    ):
        assert t is not None
        alone = mcr(head(t.gather(x)), t.label_M, t.concept_M, t.sample_M)
        assert torch.equal(found[name].total, alone.total) and torch.equal(found[name].count, alone.count)


def test_moved_targets_gather_the_same_rows() -> None:
    b = batch(5)
    states = torch.randn(5, b.tag_ids_BT.shape[1], 3)
    assert b.tags is not None
    moved = b.to("cpu").tags
    assert moved is not None and moved.row_M is not None
    assert torch.equal(moved.gather(states), b.tags.gather(states))
    assert torch.equal(moved.gather(states), states[b.tags.sample_M, b.tags.position_M])


def test_collator_reads_which_texts_match(tiny_inputs) -> None:
    from tests.training.tiny_run import experiment, paths
    from vlp.batching.inputs import Inputs

    collator = reader.collator(Inputs(experiment(), paths(tiny_inputs)), "captions")
    texts, rows = collator.texts, np.array([3, 0, 5])
    images = [texts.image_ids[i] for i in rows]
    assert collator(rows, images).matchable_B is None
    described = np.arange(len(texts)) != 0

    class Mixed:
        matchable = described

        def __getattr__(self, name: str):
            return getattr(texts, name)

    c = collator
    mixed = Collator(c.corpus, Mixed(), c.store, c.vocabulary, c.lengths)  # type: ignore[arg-type]
    flags = mixed(rows, images).matchable_B
    assert flags is not None and flags.tolist() == [True, False, True]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_reads_regions_as_they_come(dtype: torch.dtype) -> None:
    """Regions are float32 on the host whatever the precision; the losses agree with double precision roughly."""
    b, m = batch(), model().to(dtype)
    b.regions_BRF = b.regions_BRF.float()
    found = PretrainingStep(m, get_args(Loss))(b)
    torch.stack([x.mean() for x in found.values()]).sum().backward()
    for name, loss in run(batch()).items():
        assert found[name].total.dtype == torch.float32
        torch.testing.assert_close(found[name].mean().double(), loss.mean(), rtol=0.05, atol=0.02)
    assert all(p.grad.isfinite().all() for p in m.parameters() if p.grad is not None)
