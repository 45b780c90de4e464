"""Readings of the divergence ledger (docs/divergences.md) that are of the model."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.methods.mvptr.tiny import architecture, batch
from vlp.methods.mvptr.model import Head, Mvptr, set_dropout
from vlp.models.layers import SelfAttention


def make(head: Head | None = None, **changed: object) -> Mvptr:
    torch.manual_seed(0)
    model = Mvptr(architecture(head=head, head_size=3 if head else 0).model_copy(update=changed)).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 2:
                p.mul_(10)  # 0.02 hides differences
    return model


@torch.no_grad()
def joint(model: Mvptr) -> Tensor:
    b = batch()
    s = model.unimodal(b)
    return model.multimodal(s.text_BLD, b.text_mask_BL, s.regions_BRD, b.region_mask_BR)[-1]


def test_candidates_are_word_pieces_for_tags_and_phrase_rows_for_phrases() -> None:
    model, x = make(), torch.randn(5, 16)
    assert model.tag_logits(x).shape == (5, 30) and model.mlm_logits(x).shape == (5, 30)
    assert model.phrase_logits(x).shape == (5, 4)


def test_vsc_reads_the_cls_states_or_their_projections() -> None:
    plain, projected = make(), make(contrast_projection=True)
    assert not [k for k in plain.state_dict() if "projection" in k and not k.startswith("region")]
    with torch.no_grad():
        for model in (plain, projected):
            s = model.unimodal(batch())
            for vector, cls, way in zip(
                model.contrast_vectors(s),
                (s.text_BLD[:, 0], s.visual_BND[:, 0]),
                (model.text_projection, model.visual_projection),
                strict=True,
            ):
                if isinstance(way, nn.Linear):
                    assert way.bias is None
                    cls = cls @ way.weight.T
                torch.testing.assert_close(vector, F.normalize(cls, dim=-1))


def test_temperature_starts_at_the_releases_value() -> None:
    assert float(make().scale().detach()) == pytest.approx(1 / 0.07, rel=1e-5)


def test_regions_have_no_position_and_tags_are_of_type_1() -> None:
    model, b = make(), batch()
    with torch.no_grad():
        text, visual = model.encode_text(b), model.encode_image(b)
        tags, order = b.tag_ids_BT.shape[1], torch.tensor([2, 0, 3, 1])
        b.regions_BRF, b.region_mask_BR = b.regions_BRF[:, order], b.region_mask_BR[:, order]
        moved = model.encode_image(b)
        torch.testing.assert_close(moved[:, :tags], visual[:, :tags])
        torch.testing.assert_close(moved[:, tags:], visual[:, tags:][:, order])
        b.tag_ids_BT = b.tag_ids_BT[:, torch.tensor([0, 2, 1, 3, 4])]
        assert not torch.allclose(model.encode_image(b)[:, 0], visual[:, 0], atol=1e-3)  # tags have positions
        b = batch()
        model.types.weight[1] += torch.randn(16)
        assert torch.equal(model.encode_text(b), text)
        assert not torch.allclose(model.encode_image(b), visual, atol=1e-3)


def test_layer_norm_of_regions_is_there_if_asked_for() -> None:
    """With it, the size of a region's vector says nothing."""
    for asked in (False, True):
        model, b = make(region_layer_norm=asked), batch()
        assert ("region_norm.weight" in model.state_dict()) == asked
        with torch.no_grad():
            once = model.encode_image(b)
            b.regions_BRF = b.regions_BRF * 3
            assert torch.allclose(model.encode_image(b), once, atol=1e-4) == asked


def test_decoders_are_the_embedding_rows() -> None:
    model, x = make(), torch.randn(5, 16)
    heads = {model.mlm_logits: 7, model.tag_logits: 7, model.phrase_logits: 2}
    with torch.no_grad():
        before = [logits(x) for logits in heads]
        model.embeddings.weight[[7, 32]] += 1.0
        for (logits, row), old in zip(heads.items(), before, strict=True):
            changed = (logits(x) != old).any(0)
            assert changed.nonzero().ravel().tolist() == [row]
    for head in (model.mlm_head, model.tag_head, model.phrase_head):
        assert {k.split(".")[0] for k in head.state_dict()} == {"dense", "norm", "bias"}
    assert not torch.equal(model.mlm_head.dense.weight, model.tag_head.dense.weight)


def test_itm_and_entailment_read_the_pooled_state() -> None:
    model = make(head="entailment")
    x = joint(model)
    pooled = torch.tanh(F.linear(x[:, 0], model.pooler.weight, model.pooler.bias))
    entailment: Any = model.head["entailment"]
    for logits, head, classes in (
        (model.itm_logits(x), model.itm_head, 2),
        (model.class_logits(x), entailment, 3),
    ):
        torch.testing.assert_close(logits, F.linear(pooled, head.weight, head.bias))
        assert logits.shape[1] == classes


def test_vqa_reads_the_state_before_the_pooler() -> None:
    model = make(head="vqa")
    x = joint(model)
    logits = model.answer_logits(x)
    torch.testing.assert_close(logits, model.head["vqa"](x[:, 0]))
    with torch.no_grad():
        model.pooler.weight += 1.0
    assert torch.equal(model.answer_logits(x), logits)


def test_dropout_stands_before_the_heads() -> None:
    heads: tuple[tuple[Head | None, str], ...] = (
        ("vqa", "answer_logits"),
        ("entailment", "class_logits"),
        (None, "itm_logits"),
    )
    for head, name in heads:
        model = make(head=head)
        x, logits = joint(model), getattr(model, name)
        set_dropout(model, 0.5)
        assert torch.equal(logits(x), logits(x))
        model.train()
        assert not torch.equal(logits(x), logits(x))


def test_dropout_of_a_task_is_the_hidden_one() -> None:
    model = make(dropout=0.1, attention_dropout=0.1)
    set_dropout(model, 0.3)
    assert {m.p for m in model.modules() if isinstance(m, nn.Dropout)} == {0.3}
    inside = {m.attention_dropout for m in model.modules() if isinstance(m, SelfAttention)}
    assert inside == {0.1}
