"""Corpus and region store -> batches: everything is tokenised already, this only gathers, caps, masks and pads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from vlp.batching.draw import Draw
from vlp.batching.order import MASK, NOISE
from vlp.errors import InputError
from vlp.methods.mvptr.batch import Batch, Images, Targets, Texts
from vlp.methods.mvptr.config import Lengths, Masking
from vlp.methods.mvptr.masking import mask_tags, mask_text

if TYPE_CHECKING:
    from vlp.batching.inputs import Inputs
    from vlp.batching.vocabulary import Vocabulary
    from vlp.phrases.corpus import Corpus, TextSet
    from vlp.regions.store import RegionStore, TagSource


@dataclass(frozen=True)
class Example:
    """One text with one image, capped; no specials, no padding."""

    words: np.ndarray
    phrases: np.ndarray
    phrase_words: np.ndarray
    tags: np.ndarray
    tag_of_piece: np.ndarray
    regions: np.ndarray


class Collator:
    """Makes the batches of one text set. Picklable parts only; reading has no lock."""

    def __init__(
        self,
        corpus: Corpus,
        texts: TextSet,
        store: RegionStore,
        vocabulary: Vocabulary,
        lengths: Lengths,
        use_phrases: bool = True,
        use_tags: bool = True,
        tag_source: TagSource = "detector",
    ) -> None:
        self.corpus, self.texts, self.store = corpus, texts, store
        self.vocabulary, self.lengths = vocabulary, lengths
        self.use_phrases, self.use_tags = use_phrases, use_tags
        self.tag_source: TagSource = tag_source

    def example(self, text: int, image_id: str) -> Example:
        """Caps that hold: words and tags count [CLS] and [SEP] in; only whole tags; regions best first."""
        words, phrases, pairs = self.text(text)
        return Example(words, phrases, pairs, *self.tags(image_id), self.regions(image_id))

    def sizes(self, texts: np.ndarray) -> np.ndarray:
        """Words and phrases of each text, capped, without [CLS] and [SEP]."""
        cap = self.lengths
        words, phrases = self.texts.sizes()
        phrases = np.minimum(phrases, cap.phrases if self.use_phrases else 0)
        return (np.minimum(words, cap.words - 2) + phrases)[texts]

    def text(self, text: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        words = self.texts.tokens(text)[: self.lengths.words - 2].astype(np.int64)
        if not self.use_phrases:
            return words, np.zeros(0, np.int64), np.zeros((0, 2), np.int64)
        phrases = self.texts.phrases(text)[: self.lengths.phrases].astype(np.int64)
        return words, phrases, self.texts.phrase_words(text)

    def tags(self, image_id: str) -> tuple[np.ndarray, np.ndarray]:
        kept, room = [], self.lengths.tags - 2
        for pieces in self.corpus.tags(image_id, self.tag_source) if self.use_tags else []:
            if len(pieces) > room:
                break
            kept.append(pieces)
            room -= len(pieces)
        if not kept:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        return np.concatenate(kept).astype(np.int64), np.repeat(np.arange(len(kept)), [len(p) for p in kept])

    def regions(self, image_id: str) -> np.ndarray:
        """[R, D+6] float32, best first. Raises InputError: the image has none, and nothing could be attended to."""
        found = self.store.regions(image_id, limit=self.lengths.regions)
        if not len(found):
            remedy = "Extract its regions again, or leave the image out of the tables."
            where = getattr(self.store, "path", "the picture")  # inference has a store of one image, which is no file
            raise InputError(where, "the image has no regions.", remedy, row=image_id)
        return np.concatenate([found.features.astype(np.float32), found.geometry], 1)

    def batch(self, rows: np.ndarray, images: Sequence[str], draw: Draw | None = None) -> Batch:
        """The clean batch of rows[i] with images[i]; nothing of it is drawn."""
        return self(rows, images)

    def __call__(self, texts: np.ndarray, image_ids: Sequence[str]) -> Batch:
        """The clean batch of texts[i] with image_ids[i]."""
        examples = [self.example(int(t), i) for t, i in zip(texts, image_ids, strict=True)]
        return self._pad(examples, texts, image_ids, [None] * len(examples), [None] * len(examples))

    def of_texts(self, rows: np.ndarray) -> Texts:
        """Texts alone, without any image."""
        return self._texts([self.text(int(row))[:2] for row in rows])

    def of_images(self, images: Sequence[str]) -> Images:
        """Images alone, without any text."""
        return self._images([self.tags(i)[0] for i in images], [self.regions(i) for i in images])

    def masked(self, texts: np.ndarray, image_ids: Sequence[str], rates: Masking, draw: Draw) -> Batch:
        """The masked batch; masks depend on (seed, step, place in the global batch), not on how ranks share it."""
        v, cap = self.vocabulary, self.lengths
        width = cap.words + cap.phrases + 2 * cap.tags
        uniform = draw.whole(MASK).random((draw.global_size, 3, width), dtype=np.float32)[draw.places]
        examples, text_targets, tag_targets = [], [], []
        for text, image_id, u in zip(texts, image_ids, uniform, strict=True):
            e = self.example(int(text), image_id)
            n = cap.words + cap.phrases
            words, phrases, word_targets, phrase_targets = mask_text(
                e.words,
                e.phrases,
                e.phrase_words,
                u[:, :n],
                rates,
                v.mask,
                v.word_choices,
                (v.word_rows, v.word_rows + v.phrase_rows),
            )
            tags, is_target = mask_tags(e.tags, e.tag_of_piece, u[:, n:], rates.tags, v.mask, v.word_choices)
            text_targets.append((word_targets, e.words[word_targets], phrase_targets, e.phrases[phrase_targets]))
            at = np.flatnonzero(is_target)
            tag_targets.append((at, e.tags[at], e.tag_of_piece[at]))
            examples.append(Example(words, phrases, e.phrase_words, tags, e.tag_of_piece, e.regions))
        return self._pad(examples, texts, image_ids, text_targets, tag_targets)

    def _texts(self, texts: Sequence[tuple[np.ndarray, np.ndarray]]) -> Texts:
        """`texts`: words and phrases of each."""
        v, lengths = self.vocabulary, [len(words) + len(phrases) + 2 for words, phrases in texts]
        ids = np.full((len(texts), max(lengths)), v.pad, np.int64)
        for row, (words, phrases) in zip(ids, texts, strict=True):
            n, m = len(words), len(phrases)
            row[0], row[1 : n + 1], row[n + 1 : n + m + 1], row[n + m + 1] = v.cls, words, phrases, v.sep
        return Texts(torch.from_numpy(ids), _valid(lengths, ids.shape[1]))

    def _images(self, tags: Sequence[np.ndarray], regions: Sequence[np.ndarray]) -> Images:
        v, lengths, counts = self.vocabulary, [len(t) + 2 for t in tags], [len(r) for r in regions]
        ids = np.full((len(tags), max(lengths)), v.pad, np.int64)
        features = np.zeros((len(tags), max(1, *counts), self.store.feature_size + 6), np.float32)
        for b, (own, found) in enumerate(zip(tags, regions, strict=True)):
            ids[b, 0], ids[b, 1 : len(own) + 1], ids[b, len(own) + 1] = v.cls, own, v.sep
            features[b, : len(found)] = found
        masks = _valid(lengths, ids.shape[1]), _valid(counts, features.shape[1])
        return Images(torch.from_numpy(ids), masks[0], torch.from_numpy(features), masks[1])

    def _pad(self, examples: list[Example], texts, image_ids, text_targets, tag_targets) -> Batch:
        v = self.vocabulary
        own = self._texts([(e.words, e.phrases) for e in examples])
        seen = self._images([e.tags for e in examples], [e.regions for e in examples])
        phrases = np.zeros((len(examples), max(1, *(len(e.phrases) for e in examples))), np.int64)
        for row, e in zip(phrases, examples, strict=True):
            n, m = len(e.words), len(e.phrases)
            row[:m] = np.arange(n + 1, n + m + 1)
        batch = Batch(
            text_ids_BL=own.text_ids_BL,
            text_mask_BL=own.text_mask_BL,
            tag_ids_BT=seen.tag_ids_BT,
            tag_mask_BT=seen.tag_mask_BT,
            regions_BRF=seen.regions_BRF,
            region_mask_BR=seen.region_mask_BR,
            phrase_positions_BP=torch.from_numpy(phrases),
            phrase_mask_BP=torch.from_numpy(phrases > 0),
            image_B=torch.tensor([self.store.index(i) for i in image_ids]),
            text_B=torch.tensor([text_number(self.texts.tokens(int(t))) for t in texts]),
            matchable_B=self._matchable(texts),
        )
        if text_targets[0] is not None:
            batch.words = _targets([(t[0] + 1, t[1], t[0]) for t in text_targets])
            both = zip(text_targets, examples, strict=True)
            parts = [(t[2] + len(e.words) + 1, t[3] - v.word_rows, t[2]) for t, e in both]
            batch.phrases = _targets(parts)
            batch.tags = _targets([(at + 1, labels, tag) for at, labels, tag in tag_targets])
        return batch

    def _matchable(self, texts: np.ndarray) -> torch.Tensor | None:
        """A text set with texts that describe no image says so: `matchable`, one flag for each text."""
        flags = getattr(self.texts, "matchable", None)
        return None if flags is None else torch.from_numpy(np.asarray(flags, bool)[np.asarray(texts, np.int64)])


@dataclass(frozen=True)
class MaskedPairs:
    """What a stage of pre-training reads: masked pairs, and the noise that their hard negatives are drawn with."""

    collator: Collator
    rates: Masking
    warmup: float
    """Share of the run over which the draw of negatives goes from uniform to p (`negative_warmup`)."""
    group: int | None
    """See `add_negative_noise`."""

    @property
    def texts(self) -> TextSet:
        return self.collator.texts

    def sizes(self, rows: np.ndarray) -> np.ndarray:
        return self.collator.sizes(rows)

    def batch(self, rows: np.ndarray, images: Sequence[str], draw: Draw | None = None) -> Batch:
        if draw is None:
            return self.collator(rows, images)
        return add_negative_noise(self.collator.masked(rows, images, self.rates, draw), draw, self.warmup, self.group)


def collator(
    inputs: Inputs, texts: str, lengths: Lengths | None = None, tag_source: TagSource = "detector"
) -> Collator:
    """Of a text set of the corpus.

    Args:
        lengths: None: those of the experiment.
        tag_source: pre-training alone may read ground-truth tags: they tell of an image what tasks are to find.
    """
    e = inputs.experiment
    return Collator(
        inputs.corpus,
        inputs.corpus.texts(texts),
        inputs.store,
        inputs.vocabulary,
        lengths or e.lengths,
        e.model.use_phrases,
        e.model.use_tags,
        tag_source,
    )


def region_size(inputs: Inputs) -> int:
    """Numbers of a region: its feature, then its geometry."""
    return inputs.store.feature_size + 6


def text_number(tokens: np.ndarray) -> int:
    """Equal texts get equal numbers, on every rank: 63 bits of a digest of the word pieces."""
    return int.from_bytes(hashlib.blake2b(tokens.tobytes(), digest_size=8).digest(), "little") >> 1


def add_negative_noise(batch: Batch, draw: Draw, warmup: float = 0.0, group: int | None = None) -> Batch:
    """Noise for drawing hard negatives and the half whose image is replaced, from counters.

    Args:
        warmup: share of the run over which the draw goes from uniform to the paper's.
        group: negatives are drawn within groups of so many consecutive places, and so is the replaced half; then
            nothing depends on how the global batch is shared. It divides the size. None: the micro-batch is one group.
    """
    batch.hardness = torch.tensor(draw.ramp(warmup))
    size = len(batch)
    group = group or size
    gumbel, replace = np.full((2, size, size), -np.inf, np.float32), np.zeros(size, bool)
    for begin in range(0, size, group):
        g = draw.of_group(begin, group, NOISE)
        own = slice(begin, begin + group)
        uniform = g.random((2, group, group)).clip(1e-12, 1 - 1e-12)
        gumbel[:, own, own] = -np.log(-np.log(uniform))
        replace[begin + g.permutation(group)[: (group + 1) // 2]] = True
    batch.gumbel_2BG, batch.replace_image_B = torch.from_numpy(gumbel), torch.from_numpy(replace)
    return batch


def _valid(lengths: list[int], width: int) -> torch.Tensor:
    return torch.from_numpy(np.arange(width) < np.array(lengths)[:, None])


def _targets(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Targets:
    """parts[b] = (positions, labels, concept within the sample)."""
    sample = np.repeat(np.arange(len(parts)), [len(p[0]) for p in parts])
    position, label, concept = (np.concatenate([p[i] for p in parts]).astype(np.int64) for i in range(3))
    if len(concept):
        new = np.append(True, (np.diff(sample) != 0) | (np.diff(concept) != 0))
        concept = np.cumsum(new) - 1
    return Targets(*(torch.from_numpy(np.asarray(x, np.int64)) for x in (sample, position, label, concept)))
