"""The words of the shapes world: attributes, their synonyms, their colours in RGB, plurals, articles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from vlp.config.data import Shapes

T = TypeVar("T")

SHAPES = (
    "circle",
    "square",
    "triangle",
    "star",
    "cross",
    "ring",
    "heart",
    "diamond",
    "moon",
    "arrow",
    "pentagon",
    "hexagon",
)
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (215, 35, 40),
    "green": (35, 160, 65),
    "blue": (45, 85, 220),
    "yellow": (245, 220, 45),
    "purple": (130, 45, 170),
    "pink": (250, 135, 190),
    "white": (250, 250, 250),
    "black": (22, 22, 22),
}
SIZES = ("small", "large")
TEXTURES = ("solid", "striped", "dotted")
RELATIONS = ("left of", "right of", "above", "below", "inside", "next to")

KINDS = ("size", "texture", "colour", "shape")
"""Kinds of attribute, in the order of the words in a noun phrase."""

SYNONYMS: dict[str, tuple[str, ...]] = {
    "circle": ("disc",),
    "square": ("block",),
    "triangle": ("wedge",),
    "ring": ("hoop",),
    "diamond": ("rhombus",),
    "arrow": ("pointer",),
    "small": ("tiny",),
    "large": ("big", "huge"),
    "dotted": ("spotted",),
    "left of": ("left of", "on the left side of"),
    "right of": ("right of", "on the right side of"),
    "above": ("over",),
    "below": ("under", "beneath"),
    "inside": ("within", "in"),
    "next to": ("beside", "near"),
}
RELATION_WORDS = {r: f"to the {r}" if r in ("left of", "right of") else r for r in RELATIONS}
"""The usual words of a relation."""

NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four"}


@dataclass(frozen=True)
class Vocabulary:
    """The part of the words that is in use, by the dials; `values[kind]` are the values of an attribute."""

    values: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, dials: Shapes) -> Vocabulary:
        return cls(
            {
                "size": SIZES,
                "texture": TEXTURES[: dials.textures],
                "colour": tuple(COLOURS)[: dials.colours],
                "shape": SHAPES[: dials.shapes],
            }
        )

    def bits(self, kind: str) -> float:
        """How much naming this attribute tells, if all values are equally frequent."""
        return float(np.log2(len(self.values[kind])))


def word(value: str, rng: np.random.Generator, synonyms: float) -> str:
    """The value's usual word or, with probability `synonyms`, one of its synonyms (if it has any)."""
    others = SYNONYMS.get(value, ())
    if others and rng.random() < synonyms:
        return others[int(rng.integers(len(others)))]
    return RELATION_WORDS.get(value, value)


def plural(noun: str) -> str:
    return noun + ("es" if noun.endswith(("s", "x")) else "s")


def article(following: str) -> str:
    return "an" if following[0] in "aeiou" else "a"


def pick(items: Sequence[T], rng: np.random.Generator) -> T:
    return items[int(rng.integers(len(items)))]
