"""Merged attention (Table 4): one encoder over words, phrases, regions and tags; no VSC."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.objectives.batches import GROUNDING_LAYER, LAYERS, batch, model
from tests.objectives.reference import mcr as slow_mcr
from vlp.methods.mvptr.model import Mvptr
from vlp.methods.mvptr.steps import PretrainingStep, RetrievalStep
from vlp.models.layers import Layer
from vlp.objectives import hard_negatives

LOSSES = ("mcr_visual", "mcr_text", "mlm", "itm", "wpg")


@pytest.fixture
def merged() -> Mvptr:
    a = model().architecture.model_copy(update={"fusion": "merged", "text_layers": 0, "visual_layers": 0})
    torch.manual_seed(5)
    m = Mvptr(a).double().eval()
    with torch.no_grad():
        for p in m.parameters():
            if p.dim() > 1:
                p *= 10
    return m


def test_every_loss_is_finite_and_trains_the_one_encoder(merged: Mvptr) -> None:
    found = PretrainingStep(merged, LOSSES)(batch())
    assert set(found) == set(LOSSES) and all(v.count > 0 and torch.isfinite(v.total) for v in found.values())
    for name, loss in found.items():
        block = merged.multimodal_encoder.layers[0]
        assert isinstance(block, Layer)
        weight = block.attention.query.weight
        (grad,) = torch.autograd.grad(loss.mean(), weight, retain_graph=True)
        assert grad.abs().max() > 0, name
    assert len(merged.multimodal_encoder.layers) == LAYERS >= GROUNDING_LAYER


def test_tags_and_phrases_are_recovered_from_the_last_states_of_the_matched_pairs(merged: Mvptr) -> None:
    b = batch()
    found = PretrainingStep(merged, LOSSES)(b)
    alone = PretrainingStep(merged, ("mcr_visual", "mcr_text"))(b)
    last, length, end = merged.joint(b)[-1], b.text_ids_BL.shape[1], b.text_ids_BL.shape[1] + b.regions_BRF.shape[1]
    assert b.tags is not None and b.phrases is not None
    parts = {
        "mcr_visual": (b.tags, merged.tag_logits(b.tags.gather(last[:, end:]))),
        "mcr_text": (b.phrases, merged.phrase_logits(b.phrases.gather(last[:, :length]))),
    }
    for name, (t, logits) in parts.items():
        total, count = slow_mcr(logits.tolist(), t.label_M.tolist(), t.concept_M.tolist(), t.sample_M.tolist())
        assert found[name].total.item() == pytest.approx(float(total), rel=1e-9)
        assert alone[name].total.item() == pytest.approx(float(total), rel=1e-9) and int(count) == found[name].count


def test_a_negative_brings_the_tags_of_its_image(merged: Mvptr) -> None:
    """ITM of a negative pair is that of the text joined with the other image's regions and tags."""
    b = batch(size=4)
    itm = PretrainingStep(merged, ("itm",))(b)["itm"]
    assert b.gumbel_2BG is not None and b.replace_image_B is not None
    drawn = hard_negatives(None, b.image_B, b.text_B, b.gumbel_2BG, b.replace_image_B, None)
    total, s = 0.0, merged.unimodal(b)
    pairs = [(i, i, 0) for i in range(4)] + [(int(t), int(i), 1) for t, i in zip(drawn[0], drawn[1], strict=True)]
    for text, image, label in pairs:
        one, other = slice(text, text + 1), slice(image, image + 1)
        last = merged.multimodal(
            s.text_BLD[one],
            b.text_mask_BL[one],
            s.regions_BRD[other],
            b.region_mask_BR[other],
            s.tags_BTD[other],
            b.tag_mask_BT[other],
        )[-1]
        total -= merged.itm_logits(last).log_softmax(-1)[0, label].item()
    assert itm.total.item() == pytest.approx(total, rel=1e-9)


def test_retrieval_is_tuned_by_itm_alone(merged: Mvptr) -> None:
    assert set(RetrievalStep(merged)(batch())) == {"itm"}


def test_drawn_uniformly(merged: Mvptr) -> None:
    """Without VSC nothing says which image is hard: over many draws every other one comes equally often."""
    b, counts = batch(size=4), np.zeros(4)
    rng = np.random.Generator(np.random.PCG64(0))
    for _ in range(3000):
        noise = torch.from_numpy(rng.gumbel(size=(2, 4, 4)))
        image = hard_negatives(None, b.image_B, b.text_B, noise, torch.ones(4, dtype=torch.bool), None)[1]
        counts[int(image[0])] += 1
    assert counts[0] == 0 and np.abs(counts[1:] - 1000).max() < 120
