"""The scene graph of one text, and the phrase tuples that are read off it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["attribute", "relation"]
Span = tuple[int, int]
"""First character and the one after the last, in the text."""


@dataclass(frozen=True, order=True)
class Thing:
    """An object of the scene: the noun's lemma and where the noun stands."""

    span: Span
    lemma: str


@dataclass(frozen=True)
class Phrase:
    """A tuple in SPICE's order, (object, attribute) or (subject, relation, object), with the words it is made of."""

    kind: Kind
    parts: tuple[str, ...]
    words: tuple[Span, ...]


@dataclass(frozen=True)
class Attribute:
    thing: Thing
    value: str
    words: tuple[Span, ...]
    """Of the attribute alone, without the object's noun."""

    def phrase(self) -> Phrase:
        return Phrase("attribute", (self.thing.lemma, self.value), _in_order(self.thing.span, *self.words))


@dataclass(frozen=True)
class Relation:
    subject: Thing
    name: str
    object: Thing
    words: tuple[Span, ...]
    """Of the relation alone; empty where no word names it (a possessive)."""

    def phrase(self) -> Phrase:
        words = _in_order(self.subject.span, *self.words, self.object.span)
        return Phrase("relation", (self.subject.lemma, self.name, self.object.lemma), words)


@dataclass(frozen=True)
class SceneGraph:
    text: str
    things: tuple[Thing, ...]
    attributes: tuple[Attribute, ...]
    relations: tuple[Relation, ...]

    def phrases(self) -> tuple[Phrase, ...]:
        """Distinct tuples in the order of their first word; of two equal ones the first stands."""
        found = [edge.phrase() for edge in (*self.attributes, *self.relations)]
        found.sort(key=lambda p: (p.words, p.kind, p.parts))
        distinct: dict[tuple[str, ...], Phrase] = {}
        for phrase in found:
            distinct.setdefault((phrase.kind, *phrase.parts), phrase)
        return tuple(distinct.values())


def _in_order(*spans: Span) -> tuple[Span, ...]:
    return tuple(sorted(set(spans)))
