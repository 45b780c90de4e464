"""The parts of what a model says of one image and one text, whatever its method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MASK = "[MASK]"
"""Stands in a text for a word that the model shall fill in."""
ABILITIES = {
    "words": "fills masks",
    "match": "scores the match",
    "cosine": "compares the unimodal encoders",
    "phrases": "grounds phrases",
    "concepts": "grounds concepts",
    "answers": "answers questions",
    "entailment": "tells entailment",
}
"""Part of an answer -> what a model does that gives it."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Filled:
    """A mask of the text and the word pieces that the model puts there."""

    start: int
    """First character of the mask in the text."""
    candidates: tuple[tuple[str, float], ...]
    """(word piece, probability), best first."""

    @property
    def word(self) -> str:
        return self.candidates[0][0]


@dataclass(frozen=True)
class Grounded:
    """A phrase and the box that the model gives it."""

    text: str
    start: int
    end: int
    """Characters of the text."""
    box: Box
    """xyxy, pixels of the image"""
    score: float
    """How sure that is, by the model's own measure: higher is surer."""
    region: int | None = None
    """Number of the region that it chose, best detected first; None: the box is the model's own."""
    region_class: str | None = None
    """What the detector takes the region for."""


@dataclass(frozen=True)
class GroundedConcept:
    """A phrase tuple of the vocabulary and the region that is nearest to it."""

    parts: tuple[str, ...]
    kind: str
    box: Box
    score: float
    region: int


@dataclass(frozen=True)
class Said:
    """What a method makes of one call."""

    text: str
    """As the model reads it, every mask written `[MASK]`."""
    found: dict[str, Any]
    """The parts that it gives, by their names in `ABILITIES`."""
    notes: tuple[str, ...] = ()
    """What the model did not see."""
    scale: tuple[float, float] = (1.0, 1.0)
    """From the pixels that boxes are given in to those of the picture, width and height."""


def does(abilities: Any) -> str:
    """In words, in the order of `ABILITIES`."""
    return (
        ", ".join(said for name, said in ABILITIES.items() if name in abilities)
        or "does none of what can be asked here"
    )
