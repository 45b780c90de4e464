"""Noun phrases, and texts that know which of their characters mention what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vlp.data.shapes.scene import Scene, Thing
from vlp.data.shapes.vocabulary import KINDS, NUMBERS, article, plural, word


@dataclass(frozen=True)
class Word:
    """Characters [start, end) of the text say that `kind` (size, texture, colour, shape, count, tone) is `value`."""

    start: int
    end: int
    kind: str
    value: str


@dataclass(frozen=True)
class Mention:
    """A noun phrase, characters [start, end). `objects`: indices of what it refers to; empty for the background (type
    `scene`) and for phrases such as 'a picture' (type `notvisual`)."""

    start: int
    end: int
    type: str
    objects: tuple[int, ...]
    words: tuple[Word, ...]


@dataclass(frozen=True)
class Claim:
    """Characters [start, end) say that each object of mention `subject` stands in `relation` to each of mention
    `object` (positions in the text's list of mentions)."""

    relation: str
    subject: int
    object: int
    start: int
    end: int


@dataclass
class Text:
    """A text under construction: words joined by single blanks."""

    text: str = ""
    mentions: list[Mention] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)

    def say(self, words: str) -> tuple[int, int]:
        """Append; returns the characters' span."""
        start = len(self.text) + bool(self.text)
        self.text = f"{self.text} {words}" if self.text else words
        return start, len(self.text)

    def mention(self, words: Sequence[tuple[str, str, str]], objects: Sequence[int], kind: str = "other") -> int:
        """Append a noun phrase of (word, kind, value), kind '' for an article; returns its position."""
        spans = [(*self.say(text), kind_, value) for text, kind_, value in words]
        said = tuple(Word(*s) for s in spans if s[2])
        self.mentions.append(Mention(spans[0][0], spans[-1][1], kind, tuple(objects), said))
        return len(self.mentions) - 1

    def claim(self, words: str, relation: str, subject: int) -> None:
        """Append the words of a relation; its object is the mention that follows."""
        start, end = self.say(words)
        self.claims.append(Claim(relation, subject, len(self.mentions), start, end))


def one(thing: Thing, mention: float, synonyms: float, rng: np.random.Generator, kinds: Sequence[str]) -> list:
    """Words of 'a small striped red circle': each attribute of `kinds` comes with probability `mention`."""
    chosen = {k: thing.value(k) for k in kinds if rng.random() < mention}
    body = _body(chosen | {"shape": thing.shape}, synonyms, rng)
    return [(article(body[0][0]), "", ""), *body]


def many(description: Mapping[str, str], count: int, synonyms: float, rng: np.random.Generator) -> list:
    """Words of 'two striped red circles'."""
    *adjectives, (noun, kind, value) = _body(description, synonyms, rng)
    return [(NUMBERS[count], "count", str(count)), *adjectives, (plural(noun), kind, value)]


def _body(description: Mapping[str, str], synonyms: float, rng: np.random.Generator) -> list[tuple[str, str, str]]:
    return [(word(description[k], rng, synonyms), k, description[k]) for k in KINDS if k in description]


def phrase(description: Mapping[str, str], generic: str = "object") -> str:
    """'small red circle', or 'small red object' where the shape is not named; usual words only."""
    words = [description[k] for k in KINDS[:-1] if k in description]
    return " ".join([*words, description.get("shape", generic)])


def describe(thing: Thing, kinds: Sequence[str]) -> dict[str, str]:
    return {k: thing.value(k) for k in kinds}


def unique(scene: Scene, i: int, choices: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """Those descriptions of object `i`, one for each choice of kinds, that fit no other object of the scene."""
    options = [describe(scene.things[i], kinds) for kinds in choices]
    return [d for d in options if scene.matching(d) == [i]]
