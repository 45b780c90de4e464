"""Readings of the divergence ledger (docs/divergences.md) that are of masks and of the layout of a batch."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.batching.draws import draw
from tests.training.tiny_run import experiment, paths
from vlp.batching.inputs import Inputs
from vlp.methods.mvptr import reader
from vlp.methods.mvptr.batch import Batch
from vlp.methods.mvptr.config import Lengths, Masking
from vlp.methods.mvptr.masking import mask_tags, mask_text
from vlp.methods.mvptr.reader import Collator, add_negative_noise

ROWS = np.arange(8)


@pytest.fixture(scope="module")
def inputs(tiny_inputs: Path) -> Inputs:
    return Inputs(experiment(), paths(tiny_inputs))


@pytest.fixture(scope="module")
def collator(inputs: Inputs) -> Collator:
    return reader.collator(inputs, "captions")


def images(collator: Collator) -> list[str]:
    return [collator.texts.image_ids[int(r)] for r in ROWS]


def masked(collator: Collator, rates: Masking, step: int = 0) -> Batch:
    return collator.masked(ROWS, images(collator), rates, draw(len(ROWS), 1, step))


@pytest.mark.parametrize(("size", "replaced"), [(8, 4), (5, 3)])
def test_half_of_the_negatives_get_another_image(collator: Collator, size: int, replaced: int) -> None:
    batch = collator(ROWS[:size], images(collator)[:size])
    drawn = [add_negative_noise(batch, draw(size, 1, step)).replace_image_B for step in range(6)]
    assert [int(d.sum()) for d in drawn if d is not None] == [replaced] * 6
    assert len({tuple(d.tolist()) for d in drawn if d is not None}) > 1


def test_negatives_are_ps_at_once_unless_warmed_up(collator: Collator) -> None:
    batch = collator(ROWS, images(collator))
    for warmup, powers in ((0.0, [1.0] * 4), (0.5, [0.0, 0.5, 1.0, 1.0])):
        drawn = [add_negative_noise(batch, draw(8, step=s, total=100), warmup).hardness for s in (0, 25, 50, 99)]
        assert [float(h) for h in drawn if h is not None] == powers


def test_masked_phrases_keep_their_place(collator: Collator) -> None:
    clean, hidden = collator(ROWS, images(collator)), masked(collator, Masking(words=0, phrases=0.99))
    assert torch.equal(hidden.phrase_mask_BP, clean.phrase_mask_BP)
    assert torch.equal(hidden.phrase_positions_BP, clean.phrase_positions_BP)
    at = hidden.text_ids_BL.gather(1, hidden.phrase_positions_BP)[hidden.phrase_mask_BP]
    assert (at == collator.vocabulary.mask).float().mean() > 0.5


def test_tags_are_masked_at_their_own_rate(collator: Collator) -> None:
    n = 20_000
    u = np.random.Generator(np.random.PCG64(0)).random((3, n))
    _, target = mask_tags(np.full(n, 9), np.arange(n), u, Masking().tags, 4, np.arange(5, 30))
    assert target.mean() == pytest.approx(0.25, abs=0.01)
    batch = masked(collator, Masking(words=0, phrases=0, tags=0.99))
    assert batch.words is not None and batch.phrases is not None and batch.tags is not None
    assert not len(batch.words.label_M) and not len(batch.phrases.label_M) and len(batch.tags.label_M)


def test_random_words_are_no_special_ones(collator: Collator) -> None:
    v = collator.vocabulary
    assert {v.cls, v.sep, v.mask, v.pad} & set(v.word_choices.tolist()) == set()
    assert len(v.word_choices) == v.word_rows - 5  # [UNK] too
    n = 4000
    u = np.stack([np.zeros(n), np.full(n, 0.85), np.linspace(0, 1, n, endpoint=False)])  # each drawn, each random
    none = np.zeros(0, np.int64)
    words, *_ = mask_text(
        np.full(n, v.cls), none, none.reshape(0, 2), u, Masking(), v.mask, v.word_choices, (v.word_rows, v.word_rows)
    )
    assert set(words.tolist()) == set(v.word_choices.tolist())


def test_masks_leave_no_trace(collator: Collator) -> None:
    rates = Masking(words=0.6, phrases=0.6, tags=0.6)
    clean, first = collator(ROWS, images(collator)), masked(collator, rates)
    for step in range(1, 4):
        later = masked(collator, rates, step)
        for targets, ids, first_row in (
            (later.words, clean.text_ids_BL, 0),
            (later.phrases, clean.text_ids_BL, collator.vocabulary.word_rows),
            (later.tags, clean.tag_ids_BT, 0),
        ):
            assert targets is not None and len(targets.label_M)
            assert torch.equal(targets.label_M + first_row, ids[targets.sample_M, targets.position_M])
    for one, other in ((clean, collator(ROWS, images(collator))), (first, masked(collator, rates))):
        for field in dataclasses.fields(Batch):
            value = getattr(one, field.name)
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, getattr(other, field.name)), field.name


def test_the_first_phrases_are_kept(inputs: Inputs) -> None:
    for cap in (0, 1, 5):
        collator = reader.collator(inputs, "captions", Lengths(words=12, phrases=cap, regions=4, tags=6))
        for row in ROWS:
            whole = collator.texts.phrases(int(row))
            _, kept, _ = collator.text(int(row))
            assert kept.tolist() == whole[:cap].tolist()
    assert max(len(collator.texts.phrases(int(row))) for row in ROWS) > 1


def test_layout_of_both_sequences(collator: Collator) -> None:
    batch, v = collator(ROWS, images(collator)), collator.vocabulary
    for b, row in enumerate(ROWS):
        words, phrases = collator.texts.tokens(int(row)), collator.texts.phrases(int(row))
        want = [v.cls, *words, *phrases, v.sep]
        assert batch.text_ids_BL[b][batch.text_mask_BL[b]].tolist() == want
        assert batch.text_ids_BL[b, len(want) :].tolist() == [v.pad] * (batch.text_ids_BL.shape[1] - len(want))
        tags = np.concatenate(collator.corpus.tags(images(collator)[b]))
        assert batch.tag_ids_BT[b][batch.tag_mask_BT[b]].tolist() == [v.cls, *tags, v.sep]
        assert (phrases >= v.word_rows).all() and len(phrases)


def test_each_side_alone_is_that_of_the_batch(tiny_inputs: Path) -> None:
    collator = reader.collator(Inputs(experiment(), paths(tiny_inputs)), "captions")
    rows, images = np.array([0, 3, 7]), ["t/00", "t/01", "t/03"]
    whole, texts, seen = collator(rows, images), collator.of_texts(rows), collator.of_images(images)
    for side in (texts, seen):
        for name, value in vars(side).items():
            assert torch.equal(value, getattr(whole, name)), name
    assert len(texts) == len(seen) == 3
