"""Which states a phrase is read from, and how near they are to each region (paper 4.2.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlp.methods.mvptr.reader import Collator

SOURCES = ("tokens", "concepts")


@dataclass(frozen=True)
class Reading:
    """Which states a phrase is read from: a multimodal layer (from 1) and what is averaged."""

    layer: int
    source: str
    """`tokens`: the phrase's words (paper 4.2.3); `concepts`: its phrase concepts, else its words; `[CLS]`: the state
    of the whole text (referring expressions)."""

    def __str__(self) -> str:
        return f"layer {self.layer}, {self.source}"


def read_from(collator: Collator, row: int, characters: tuple[int, int], source: str) -> np.ndarray:
    """Text positions a phrase is read from: those of its word pieces, or of the concepts made of its words."""
    if source == "[CLS]":
        return np.zeros(1, np.int64)
    words, concepts, pairs = collator.text(row)
    spans = collator.texts.spans(row)[: len(words)]
    inside = np.flatnonzero((spans[:, 0] < characters[1]) & (spans[:, 1] > characters[0]))
    if source == "concepts" and len(pairs):
        pairs = pairs[(pairs[:, 0] < len(concepts)) & (pairs[:, 1] < len(words))]
        # An attribute concept lies inside the phrase; a relation reaches out of it and speaks of two regions.
        outside = set(pairs[~np.isin(pairs[:, 1], inside), 0].tolist())
        own = sorted(set(pairs[:, 0].tolist()) - outside)
        if own:
            return np.array(own) + len(words) + 1
    return inside + 1
