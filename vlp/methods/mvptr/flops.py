"""Floating-point operations of the model, from its architecture and the lengths of its inputs.

Lengths without padding give the useful work, padded ones what a
padded model does. The same formulas give `vlp estimate`, the MFU of a training's log and the shares in the benchmark.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vlp.models import flops
from vlp.models.flops import linear

if TYPE_CHECKING:
    from vlp.methods.mvptr.batch import Batch, Targets
    from vlp.methods.mvptr.model import Architecture

PROJECTION = "region_projection"
LEADING = (PROJECTION,)
"""Reads what is no state of the model, so it passes no gradient on."""
CONCEPT_LOSSES = ("mcr_visual", "mcr_text", "vsc", "wpg")
"""What the paper adds to MLM and ITM: 3.4% of the FLOPs (C.3)."""


@dataclass(frozen=True)
class Sizes:
    """Lengths of B samples, and how many positions of them are masked. Means may be fractions."""

    text_B: np.ndarray
    """Positions of `[CLS] words phrases [SEP]`."""
    tags_B: np.ndarray
    """Positions of `[CLS] tags [SEP]`."""
    regions_B: np.ndarray
    phrases_B: np.ndarray
    masked_words: float
    masked_phrases: float
    masked_tags: float

    def __len__(self) -> int:
        return len(self.text_B)

    @property
    def positions(self) -> float:
        """Of text, tags and regions together."""
        return float(self.text_B.sum() + self.tags_B.sum() + self.regions_B.sum())

    @classmethod
    def uniform(
        cls, words: float, phrases: float, tags: float, regions: float, masked: tuple[float, float, float]
    ) -> Sizes:
        """One sample; words and tags without [CLS] and [SEP]; `masked`: words, phrases, tags."""
        text, concepts, visual = (np.array([x], float) for x in (words + phrases + 2, phrases, tags + 2))
        return cls(text, visual, np.array([regions], float), concepts, *masked)

    @classmethod
    def of(cls, batch: Batch, padded: bool = False) -> Sizes:
        """Of a batch: the valid positions, or with `padded` all of them. Read it before it moves to a device."""
        masks = (batch.text_mask_BL, batch.tag_mask_BT, batch.region_mask_BR, batch.phrase_mask_BP)
        whole = [np.full(len(batch), m.shape[1], float) if padded else m.sum(1).numpy().astype(float) for m in masks]
        text, tags, regions, phrases = whole
        return cls(text, tags, regions, phrases, _rows(batch.words), _rows(batch.phrases), _rows(batch.tags))


def encoder(a: Architecture, layers: int, length_B: np.ndarray, cls_only: bool = False) -> float:
    return flops.encoder(a.hidden_size, a.intermediate_size, layers, length_B, cls_only)


def vocabulary_head(a: Architecture, positions: float, rows: int) -> float:
    return flops.vocabulary_head(a.hidden_size, positions, rows)


def unimodal(a: Architecture, s: Sizes) -> dict[str, float]:
    """Forward FLOPs of both encoders and of the projection of the regions (paper 3.2)."""
    return {
        PROJECTION: linear(float(s.regions_B.sum()), a.region_size, a.hidden_size),
        "text": encoder(a, a.text_layers, s.text_B),
        "visual": encoder(a, a.visual_layers, s.tags_B + s.regions_B),
    }


def multimodal(a: Architecture, s: Sizes, cls_only: bool = False) -> float:
    """Forward FLOPs of the samples' own pairs (paper 3.3)."""
    return encoder(a, a.multimodal_layers, _joint(a, s), cls_only)


def negatives(a: Architecture, s: Sizes, cls_only: bool = False) -> float:
    """As `multimodal`, for one negative of each sample: its other half is any sample's, so its expected cost."""
    text, rest = s.text_B, _joint(a, s) - s.text_B
    together = len(s) * 2 * text.mean() * rest.mean()
    length = text.mean() + rest.mean()
    a_pair = encoder(a, a.multimodal_layers, np.full(len(s), length), cls_only)
    squares = float(np.square(text).sum() + np.square(rest).sum() + together) - len(s) * length**2
    return a_pair + (a.multimodal_layers - int(cls_only)) * 4.0 * a.hidden_size * squares


def pretraining(
    a: Architecture, s: Sizes, losses: Collection[str], contrast: int, every_text: bool = False
) -> dict[str, float]:
    """Forward FLOPs of one step by part: the encoders, then what each loss itself costs (eq. 10, 11).

    Args:
        contrast: samples that VSC compares a pair with (the global batch, or its group).
        every_text: WPG gives the texts whose negative is another text a hard image too.
    """
    h, b, names = a.hidden_size, len(s), frozenset(losses)
    parts = unimodal(a, s)
    if names & {"mlm", "itm", "wpg"}:
        cls_only = not names & {"mlm", "wpg"} and a.fusion != "merged"
        parts["multimodal_matched"] = multimodal(a, s, cls_only)
        parts["multimodal_negative"] = negatives(a, s, cls_only)
        if every_text and "wpg" in names:
            parts["multimodal_negative"] *= 1 + (b // 2) / b
    elif a.fusion == "merged":
        parts["multimodal_matched"] = multimodal(a, s)
    own = {
        "mcr_visual": vocabulary_head(a, s.masked_tags, a.word_rows),
        "mcr_text": vocabulary_head(a, s.masked_phrases, a.phrase_rows),
        "vsc": linear(b, h, contrast) + (2 * linear(b, h, h) if a.contrast_projection else 0.0),
        "mlm": vocabulary_head(a, s.masked_words, a.word_rows),
        "itm": linear(2 * b, h, h) + linear(2 * b, h, 2),
        "wpg": 2 * 2.0 * h * float(s.phrases_B.sum()) * float(s.regions_B.mean()),
    }
    return parts | {name: own[name] for name in losses}


def retrieval(a: Architecture, s: Sizes, contrast: int) -> dict[str, float]:
    """Forward FLOPs of fine-tuning with L_vsc + L_itm (paper 4.2.1)."""
    return pretraining(a, s, ("vsc", "itm"), contrast)


def classification(a: Architecture, s: Sizes, rows: int, whole_last_layer: bool = False) -> dict[str, float]:
    """Forward FLOPs of a task on the joint states, with a head of `rows` outputs on [CLS] (paper 4.2.2)."""
    parts = unimodal(a, s) | {"multimodal_matched": multimodal(a, s, not whole_last_layer)}
    return parts | {"head": vocabulary_head(a, len(s), rows)}


def parameters(a: Architecture) -> dict[str, int]:
    """Numbers of the model by part; a test holds them to the module's."""
    h, f = a.hidden_size, a.intermediate_size
    layer = 4 * (h * h + h) + 2 * h * f + f + h + 4 * h
    head = h * h + h + 2 * h
    tied = 0 if a.tied_decoders else 2 * a.word_rows * h
    return {
        "embeddings": (a.word_rows + a.phrase_rows + a.max_positions + 2) * h + 2 * h,
        PROJECTION: a.region_size * h + h + (2 * h if a.region_layer_norm else 0),
        "text": a.text_layers * layer,
        "visual": a.visual_layers * layer,
        "multimodal": a.multimodal_layers * layer,
        "heads": 3 * head + 2 * a.word_rows + a.phrase_rows + tied + (h * h + h) + 2 * h + 2 + 1,
        "contrast_projection": 2 * h * h if a.contrast_projection else 0,
    }


def _joint(a: Architecture, s: Sizes) -> np.ndarray:
    return s.text_B + s.regions_B + (s.tags_B if a.fusion == "merged" else 0)


def _rows(targets: Targets | None) -> float:
    return 0.0 if targets is None else float(len(targets.label_M))
