"""Readings of the divergence ledger (docs/divergences.md) that are of a training step and its engine."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.batching.draws import draw
from tests.training.tiny_run import experiment, paths
from vlp.batching.inputs import Inputs
from vlp.config.training import Optimisation
from vlp.methods.mvptr import reader, steps
from vlp.methods.mvptr.batch import Batch
from vlp.methods.mvptr.config import Masking
from vlp.methods.mvptr.model import Mvptr
from vlp.methods.mvptr.objectives import mcr, s_wpg
from vlp.methods.mvptr.reader import Collator, add_negative_noise
from vlp.methods.mvptr.start import new_model
from vlp.methods.mvptr.steps import GroundingStep, PretrainingStep, RetrievalStep, span_similarity
from vlp.objectives import LossSum, hard_negatives, mlm, similarity
from vlp.training.engine import deepspeed_config
from vlp.training.schedule import learning_rate

ROWS = np.arange(0, 16, 2)
LAYERS = 3
ALL = ("mcr_visual", "mcr_text", "vsc", "mlm", "itm", "wpg")


@pytest.fixture(scope="module")
def inputs(tiny_inputs: Path) -> Inputs:
    e = experiment()
    return Inputs(
        e.model_copy(update={"model": e.model.model_copy(update={"multimodal_layers": LAYERS})}), paths(tiny_inputs)
    )


@pytest.fixture(scope="module")
def collator(inputs: Inputs) -> Collator:
    return reader.collator(inputs, "captions")


@pytest.fixture
def model(inputs: Inputs) -> Mvptr:
    made = new_model(inputs).eval()
    with torch.no_grad():
        for p in made.parameters():
            if p.ndim == 2:
                p.mul_(10)  # 0.02 hides differences
    return made


@pytest.fixture
def masked(collator: Collator) -> Batch:
    images = [collator.texts.image_ids[int(r)] for r in ROWS]
    rates = Masking(words=0.4, phrases=0.4, tags=0.4)
    return add_negative_noise(collator.masked(ROWS, images, rates, draw(len(ROWS), 1)), draw(len(ROWS), 1))


def close(one: LossSum, other: LossSum) -> None:
    torch.testing.assert_close(one.total, other.total, rtol=1e-4, atol=1e-5)
    assert float(one.count) == float(other.count) > 0


def wpg_pair_by_pair(model: Mvptr, batch: Batch, layer: int) -> LossSum:
    """Eq. 6 and 7 with each negative pair encoded alone."""
    states = model.unimodal(batch)
    text, image = model.contrast_vectors(states)
    assert batch.gumbel_2BG is not None and batch.replace_image_B is not None
    coarse = model.scale() * similarity(text, image)
    drawn = hard_negatives(coarse, batch.image_B, batch.text_B, batch.gumbel_2BG, batch.replace_image_B)

    def score(b: int, i: int) -> Tensor:
        own, other = slice(b, b + 1), slice(i, i + 1)
        x = model.multimodal(
            states.text_BLD[own], batch.text_mask_BL[own], states.regions_BRD[other], batch.region_mask_BR[other]
        )[layer - 1]
        phrases = x[:, batch.phrase_positions_BP[b]]
        length = batch.text_ids_BL.shape[1]
        return s_wpg(phrases, batch.phrase_mask_BP[own], x[:, length:], batch.region_mask_BR[other])[0]

    hinges = [
        (0.2 + score(b, int(drawn.image_N[b])) - score(b, b)).clamp(min=0)
        for b in range(len(batch))
        if batch.replace_image_B[b] and drawn.valid_N[b] and batch.phrase_mask_BP[b].any()
    ]
    return LossSum.of(torch.stack(hinges).sum(), len(hinges))


def test_wpg_compares_one_text_with_two_images(model: Mvptr, masked: Batch) -> None:
    with torch.no_grad():
        found = PretrainingStep(model, ALL)(masked)["wpg"]
        close(found, wpg_pair_by_pair(model, masked, model.architecture.grounding_layer))
    assert 0 < float(found.count) <= (len(masked) + 1) // 2


def test_wpg_sees_the_layer_that_the_config_names(model: Mvptr, masked: Batch) -> None:
    architecture, totals = model.architecture, []
    for layer in range(1, LAYERS + 1):
        model.architecture = architecture.model_copy(update={"grounding_layer": layer})
        with torch.no_grad():
            found = PretrainingStep(model, ALL)(masked)["wpg"]
            close(found, wpg_pair_by_pair(model, masked, layer))
        totals.append(round(float(found.total), 5))
    assert len(set(totals)) == LAYERS


def test_one_pass_over_the_masked_input_serves_all_losses(
    model: Mvptr, masked: Batch, collator: Collator, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    for name in ("encode_text", "encode_image", "multimodal"):
        plain = getattr(model, name)
        monkeypatch.setattr(model, name, lambda *a, n=name, f=plain, **k: (seen.append(n), f(*a, **k))[1])
    found = PretrainingStep(model, ALL)(masked)
    assert sorted(seen) == ["encode_image", "encode_text", "multimodal"] and set(found) == set(ALL)
    assert (masked.text_ids_BL == collator.vocabulary.mask).any() and masked.words is not None
    changed = masked.text_ids_BL[masked.words.sample_M, masked.words.position_M] != masked.words.label_M
    assert changed.float().mean() > 0.5


def test_mlm_reads_the_matched_pairs(model: Mvptr, masked: Batch) -> None:
    assert masked.words is not None
    with torch.no_grad():
        states = model.joint(masked)[-1]
        want = mlm(model.mlm_logits(masked.words.gather(states)), masked.words.label_M)
        close(PretrainingStep(model, ALL)(masked)["mlm"], want)


def test_masked_phrases_are_predicted_by_the_text_encoder(model: Mvptr, masked: Batch) -> None:
    t = masked.phrases
    assert t is not None
    found = PretrainingStep(model, ["mcr_text"])(masked)
    assert list(found) == ["mcr_text"]
    logits = model.phrase_logits(t.gather(model.encode_text(masked)))
    close(found["mcr_text"], mcr(logits, t.label_M, t.concept_M, t.sample_M))
    found["mcr_text"].mean().backward()
    rows = model.embeddings.weight.grad
    assert rows is not None and rows[model.architecture.word_rows :].abs().sum() > 0


def test_negatives_come_from_the_ranks_own_batch(model: Mvptr, masked: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """VSC sees the rows of all ranks (here doubled, as if there were two), the draw those of its own."""
    monkeypatch.setattr(sys.modules["vlp.objectives.contrast"], "gather", lambda x: torch.cat([x, x]))
    sizes: list[tuple[int, ...]] = []

    def spy(similarity_BB: Tensor, *rest: Tensor) -> object:
        sizes.append(tuple(similarity_BB.shape))
        return hard_negatives(similarity_BB, *rest)

    monkeypatch.setattr(steps, "hard_negatives", spy)
    PretrainingStep(model, ALL)(masked)
    assert sizes == [(len(masked), len(masked))]


def test_stage_1_trains_the_unimodal_part_alone(model: Mvptr, masked: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    stage1 = PretrainingStep(model, ["mcr_visual", "mcr_text", "vsc"])
    monkeypatch.setattr(model, "multimodal", None)  # a call would fail
    found = stage1(masked)
    assert set(found) == {"mcr_visual", "mcr_text", "vsc"}
    torch.stack([loss.mean() for loss in found.values()]).sum().backward()
    trained = {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None}
    assert {"text_encoder", "visual_encoder", "embeddings", "tag_head", "phrase_head", "logit_scale"} <= trained
    assert not trained & {"multimodal_encoder", "pooler", "itm_head", "mlm_head"}


def test_retrieval_is_tuned_by_vsc_and_itm(model: Mvptr, collator: Collator) -> None:
    images = [collator.texts.image_ids[int(r)] for r in ROWS]
    batch = add_negative_noise(collator(ROWS, images), draw(len(ROWS), 1))
    assert batch.words is None and not (batch.text_ids_BL == collator.vocabulary.mask).any()
    found = RetrievalStep(model)(batch)
    assert set(found) == {"vsc", "itm"}
    assert (float(found["vsc"].count), float(found["itm"].count)) == (len(ROWS), 2 * len(ROWS))


def test_grounding_is_tuned_on_the_layer_that_the_config_names(model: Mvptr, collator: Collator) -> None:
    batch = collator(ROWS, [collator.texts.image_ids[int(r)] for r in ROWS])
    size, length, regions = len(batch), batch.text_ids_BL.shape[1], batch.regions_BRF.shape[1]
    batch.span_mask_BGL = torch.zeros(size, 1, length, dtype=torch.bool)
    batch.span_mask_BGL[..., 1:3] = True
    batch.iou_BGR = torch.rand(size, 1, regions, generator=torch.Generator().manual_seed(0))
    batch.grounded_BG = torch.ones(size, 1, dtype=torch.bool)
    totals = []
    with torch.no_grad():
        layers = model.joint(batch)
        for layer in range(1, LAYERS + 1):
            cosine = span_similarity(layers[layer - 1], length, batch.span_mask_BGL, batch.region_mask_BR)
            valid = batch.region_mask_BR[:, None]
            want = ((cosine - batch.iou_BGR)[valid] ** 2).sum()
            found = GroundingStep(model, layer, "mse")(batch)["grounding"]
            torch.testing.assert_close(found.total, want)
            totals.append(round(float(found.total), 5))
    assert len(set(totals)) == LAYERS


def options(**changed: object) -> Optimisation:
    return Optimisation.model_validate({"epochs": 1, "batch_size": 8, "learning_rate": 1.0, **changed})


def test_without_warm_up_the_rate_falls_from_the_first_step() -> None:
    rates = [learning_rate(options(warmup=0.0), s, 50) for s in range(50)]
    assert rates[0] == 1.0 and rates[-1] == pytest.approx(1 / 50)
    assert all(a > b for a, b in itertools.pairwise(rates))


def test_the_engine_gets_clipping_precision_and_zero_stage() -> None:
    plain = deepspeed_config(options(), 2)
    assert (plain["gradient_clipping"], plain["zero_optimization"]["stage"]) == (1.0, 2)
    assert (plain["fp16"]["enabled"], plain["bf16"]["enabled"]) == (False, False)
    released = deepspeed_config(options(gradient_clipping=10.0, precision="fp16", accumulation=2), 2)
    assert (released["gradient_clipping"], released["fp16"]["enabled"]) == (10.0, True)
    assert released["train_micro_batch_size_per_gpu"] == 2
