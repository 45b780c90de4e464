"""Learn from captions alone how often words and prepositions go together: the counts of `attachment.py`.

Cases with one candidate, and verbs right before a preposition, are sure (Hindle and Rooth, 1993). The others are shared
out among their candidates by what is known so far, and counted so, a few times (expectation maximisation).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from vlp.phrases import mine
from vlp.phrases.attachment import Associations, Attached, Word, choices, lemmas, word_kind
from vlp.phrases.parser import SceneGraphParser
from vlp.phrases.texts import batched

ROUNDS = 12
"""Of expectation and maximisation; the choices hardly change any more."""
FEWEST = 3
"""Cases below which a triple is not kept: seven of eight, which decide little."""
MODEL = 3
"""How many times as likely the model's own choice is, while learning."""
TEXTS = 4096
"""Of a worker at once."""


class Case(NamedTuple):
    """A prepositional phrase: name, lemma of its object, the candidates, and the model's choice among them."""

    name: str
    thing: str
    candidates: tuple[Word, ...]
    now: int
    sure: bool


@dataclass
class Observed:
    words: Counter[Word] = field(default_factory=Counter)
    cases: list[Case] = field(default_factory=list)

    def add(self, other: Observed) -> None:
        self.words.update(other.words)
        self.cases += other.cases


def observe(texts: Iterable[str], model: str, processes: int = 1) -> Iterator[Observed]:
    """What stands in the texts so far, after each part of them.

    Args:
        model: spaCy model.
    """
    seen = Observed()
    for _, found in mine.each(_observe, batched(texts, TEXTS), model, processes):
        seen.add(found)
        yield seen


def learn(seen: Observed, rounds: int = ROUNDS, fewest: int = FEWEST) -> Associations:
    """Args:
    rounds: of expectation and maximisation.
    fewest: rarer triples are left out at the end, and the words without any.
    """
    known = Associations(seen.words, _counts(seen.cases, None))
    for _ in range(rounds):
        known = Associations(seen.words, _counts(seen.cases, known))
    kept = {key: round(number) for key, number in known.attached.items() if number >= fewest}
    words = {key[:2] for key in kept}
    return Associations({word: number for word, number in seen.words.items() if word in words}, kept)


def _counts(cases: Sequence[Case], known: Associations | None) -> dict[Attached, float]:
    counts: dict[Attached, float] = {}
    for case in cases:
        shares = [float(i == case.now) for i in range(len(case.candidates))]
        if not case.sure:
            shares = [] if known is None else known.shares(case.candidates, case.name, case.thing)
            shares = [MODEL * s if i == case.now else s for i, s in enumerate(shares)]
        total = sum(shares)
        for word, share in zip(case.candidates, shares, strict=False):
            if share:
                key = (*word, case.name, case.thing)
                counts[key] = counts.get(key, 0) + share / total
    return counts


def _observe(texts: list[str]) -> Observed:
    parser, seen = mine.parser(), Observed()
    assert isinstance(parser, SceneGraphParser)
    for sentence in parser.sentences(texts):
        for token in sentence.doc:
            if kind := word_kind(sentence, token):
                seen.words[kind, sentence.lemma(token)] += 1
        for choice in choices(sentence):
            candidates, thing = lemmas(sentence, choice), sentence.lemma(choice.thing)
            seen.cases.append(Case(choice.name, thing, candidates, choice.now, choice.sure))
    return seen
