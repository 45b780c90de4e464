"""Where a prepositional phrase hangs, by lexical association (Hindle and Rooth, 1993).

`a man rides a bike down a street`: does `down a street` belong to `rides` or to `bike`? The small parser knows too
little of captions to tell. How often words go together in captions does: for each word that the phrase may hang on,
P(preposition, object | word), with the preposition alone, and then the kind of word, where the three are rare.
The counts come from a corpus of captions without any annotation (`associate.py`).
"""

from __future__ import annotations

import functools
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from vlp.errors import InputError
from vlp.files import atomic
from vlp.phrases import words

if TYPE_CHECKING:
    from spacy.tokens import Token

    from vlp.phrases.sentence import Sentence

FILE = Path(__file__).with_name("attachments.tsv")
"""Counts of COCO's 414,113 captions of train2014 (Chen et al., 2015; CC BY 4.0), made by `vlp phrases associate`."""

SMOOTHING = 30
"""Cases that the coarser estimate counts for."""
PRIOR = {"noun": 2 / 3, "verb": 1 / 3}
"""How often a phrase belongs to either, whatever the words: Hindle and Rooth's share (their section 5)."""

K = TypeVar("K", bound=Hashable)
WordKind = Literal["noun", "verb"]
Word = tuple[WordKind, str]
"""Kind and lemma."""
Attached = tuple[WordKind, str, str, str]
"""Kind and lemma of the word, name of the preposition, lemma of its object."""


@dataclass(frozen=True)
class Choice:
    """A preposition with its object, and the words that it may hang on, the nearest first."""

    word: Token
    """What moves: the preposition, or the first word of its name (`next` of `next to`)."""
    name: str
    thing: Token
    candidates: tuple[tuple[WordKind, Token], ...]
    now: int
    """The candidate that it hangs on."""

    @property
    def sure(self) -> bool:
        """There is but one candidate, or a verb stands right before it."""
        kind, nearest = self.candidates[0]
        return len(self.candidates) == 1 or (self.now == 0 and kind == "verb" and nearest.i == self.word.i - 1)


class Associations:
    """Args:
    words: word -> how often it occurs.
    attached: word, preposition, object -> how often they go together; may be a share of a case.
    """

    def __init__(self, words: Mapping[Word, float], attached: Mapping[Attached, float]) -> None:
        self.words, self.attached = words, attached
        self._named = _summed((key[:3], number) for key, number in attached.items())
        self._by_kind = _summed(((key[0], key[2]), number) for key, number in attached.items())
        self._objects = _summed((key[2:], number) for key, number in attached.items())
        self._names = _summed((key[2], number) for key, number in attached.items())
        self._all = _summed((word[0], number) for word, number in words.items())

    def likelihood(self, word: Word, name: str, thing: str) -> float:
        """P(preposition, object | word) = P(preposition | word) P(object | preposition, word)."""
        kind, named = word[0], self._named.get((*word, name), 0)
        of_kind = (self._by_kind.get((kind, name), 0) + 1) / (self._all.get(kind, 0) + 1)
        of_name = (self._objects.get((name, thing), 0) + 0.1) / (self._names.get(name, 0) + 100)
        preposition = (named + SMOOTHING * of_kind) / (self.words.get(word, 0) + SMOOTHING)
        return preposition * (self.attached.get((*word, name, thing), 0) + SMOOTHING * of_name) / (named + SMOOTHING)

    def shares(self, candidates: tuple[Word, ...], name: str, thing: str) -> list[float]:
        """Of each candidate, its probability."""
        weights = [PRIOR[word[0]] * self.likelihood(word, name, thing) for word in candidates]
        total = sum(weights)
        return [weight / total for weight in weights]

    def best(self, candidates: tuple[Word, ...], name: str, thing: str, now: int) -> int:
        """The most likely candidate, if a corpus has it; else the one that it is `now`."""
        shares = self.shares(candidates, name, thing)
        best = max(range(len(shares)), key=lambda i: (shares[i], i == now))
        return best if (*candidates[best], name, thing) in self.attached else now

    def save(self, path: Path) -> None:
        """Lines of kind, lemma, preposition, object, number, tab-separated; a word's own number has no preposition."""
        rows = [(*word, "", "", number) for word, number in self.words.items()]
        rows += [(*key, number) for key, number in self.attached.items()]
        with atomic(path) as temporary:
            temporary.write_text("".join("\t".join(map(str, row)) + "\n" for row in sorted(rows)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Associations:
        """Raises InputError: a line is not of the form that `save` writes."""
        counts: dict[Word, float] = {}
        attached: dict[Attached, float] = {}
        for row, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            match line.split("\t"):
                case ["noun" | "verb" as kind, lemma, name, thing, number] if number.isdigit() and bool(name) == bool(
                    thing
                ):
                    if name:
                        attached[kind, lemma, name, thing] = int(number)
                    else:
                        counts[kind, lemma] = int(number)
                case _:
                    problem = "not kind, lemma, preposition, object, number."
                    raise InputError(path, problem, "Make the file again: vlp phrases associate.", f"line {row}")
        return cls(counts, attached)


def _summed(pairs: Iterable[tuple[K, float]]) -> dict[K, float]:
    sums: dict[K, float] = {}
    for key, number in pairs:
        sums[key] = sums.get(key, 0) + number
    return sums


@functools.cache
def associations() -> Associations:
    """Those of the package."""
    return Associations.read(FILE)


def attach(sentence: Sentence, known: Associations) -> None:
    """Hang every prepositional phrase of `sentence`, in its parsed text, on the likeliest word."""
    for choice in list(choices(sentence)):
        if not choice.sure:
            best = known.best(lemmas(sentence, choice), choice.name, sentence.lemma(choice.thing), choice.now)
            choice.word.head = choice.candidates[best][1]


def lemmas(sentence: Sentence, choice: Choice) -> tuple[Word, ...]:
    """Kind and lemma of each candidate."""
    return tuple((kind, sentence.lemma(token)) for kind, token in choice.candidates)


def choices(sentence: Sentence) -> Iterator[Choice]:
    """The prepositional phrases that hang on a noun or a verb before them; not `of`, and no times."""
    for preposition in sentence.doc[1:]:
        if preposition.dep_ != "prep" or preposition.tag_ not in ("IN", "TO") or preposition.lower_ == "of":
            continue
        thing = next((c for c in sentence.children(preposition, "pobj") if sentence.is_noun(c)), None)
        if thing is None or thing.lower_ in words.TIMES:
            continue
        first, name = _whole(preposition)
        place = sentence.place(thing)
        if place is not None:
            of, between = place
            name = " ".join((name, *(t.lower_ for t in between), of.lower_))
            thing = next((c for c in sentence.children(of, "pobj") if sentence.is_noun(c)), None)
        if thing is None or first.i == 0 or first.nbor(-1).dep_ == "punct":
            continue
        candidates = tuple(_before(sentence, first))
        now = next((i for i, (_, token) in enumerate(candidates) if token == first.head), None)
        if now is not None:
            yield Choice(first, name, thing, candidates, now)


def _whole(preposition: Token) -> tuple[Token, str]:
    """First word and name: of `to` in `next to`, `next` and `next to`."""
    before = preposition.head
    joined = (before.lower_, preposition.lower_) in words.JOINED_PREPOSITIONS
    if joined and before.dep_ in ("advmod", "prep") and before.i == preposition.i - 1:
        return before, f"{before.lower_} {preposition.lower_}"
    return preposition, preposition.lower_


def _before(sentence: Sentence, first: Token) -> Iterator[tuple[WordKind, Token]]:
    """Nouns and verbs that may carry what begins at `first` without crossing another phrase."""
    nearest = first.nbor(-1)
    for token in (nearest, *nearest.ancestors):
        if token.i >= first.i or first in token.ancestors:
            continue
        kind = word_kind(sentence, token)
        if kind is not None and not _is_part_of_the_deed(sentence, token):
            yield kind, token


def _is_part_of_the_deed(sentence: Sentence, token: Token) -> bool:
    """`tennis` in `plays tennis on a court`: an object that is one of its kind and has no article."""
    stands_alone = not sentence.children(token, "det", "poss", "nummod")
    return token.dep_ == "dobj" and token.tag_ == "NN" and stands_alone


def word_kind(sentence: Sentence, token: Token) -> WordKind | None:
    """What a word is to prepositions: a noun that names a thing, or a full verb."""
    if sentence.is_noun(token):
        counts = sentence.counted(token) is not None
        return None if counts or token.dep_ in ("compound", "nmod", "amod") else "noun"
    is_verb = token.tag_.startswith("VB") and token.dep_ not in ("aux", "auxpass", "amod")
    return "verb" if is_verb and not sentence.is_copula(token) else None
