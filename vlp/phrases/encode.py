"""Texts and their phrases as ids: word pieces, phrase ids, and which piece belongs to which phrase."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vlp.phrases.graph import Phrase, Span
from vlp.phrases.vocabulary import PhraseVocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BATCH = 1024


@dataclass(frozen=True)
class Encoded:
    """One text. T word pieces without specials, P phrases of the vocabulary in text order."""

    tokens: NDArray[np.int32]
    """[T] word-piece ids."""
    spans: NDArray[np.int32]
    """[T, 2] characters of the text."""
    phrases: NDArray[np.int32]
    """[P] rows of the joint table."""
    phrase_words: NDArray[np.int32]
    """[m, 2] pairs (phrase, word piece), both as positions within the text."""


def encode(
    texts: Sequence[str],
    phrases: Sequence[Sequence[Phrase]],
    tokenizer: PreTrainedTokenizerBase,
    vocabulary: PhraseVocabulary | None,
) -> Iterator[Encoded]:
    """One `Encoded` for each text; phrases that the vocabulary lacks are left out. None: there is no vocabulary."""
    for start in range(0, len(texts), _BATCH):
        part = list(texts[start : start + _BATCH])
        pieces = tokenizer(
            part, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False, truncation=False
        )
        found = phrases[start : start + _BATCH]
        for ids, spans, tuples in zip(pieces["input_ids"], pieces["offset_mapping"], found, strict=True):  # type: ignore[arg-type]
            known = [(i, p) for p in tuples if vocabulary and (i := vocabulary.id_of(p.parts)) is not None]
            pairs = [(k, piece) for k, (_, p) in enumerate(known) for piece in pieces_of(p.words, spans)]
            yield Encoded(
                tokens=np.asarray(ids, np.int32),
                spans=np.asarray(spans, np.int32).reshape(-1, 2),
                phrases=np.asarray([i for i, _ in known], np.int32),
                phrase_words=np.asarray(pairs, np.int32).reshape(-1, 2),
            )


def pieces_of(words: Sequence[Span], spans: Sequence[Span]) -> list[int]:
    """The pieces that share a character with one of the words, in order."""
    return [i for i, (start, end) in enumerate(spans) if any(start < e and s < end for s, e in words)]
