"""A text as the model reads it: masks, word pieces, phrase concepts, and the noun phrases to look at."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vlp.errors import InputError
from vlp.methods.answers import MASK
from vlp.phrases.corpus import TextSet
from vlp.phrases.encode import pieces_of
from vlp.phrases.sentence import Sentence, span
from vlp.phrases.words import DEPICTIONS, SIDES

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token
    from transformers import PreTrainedTokenizerBase

    from vlp.methods.mvptr.config import Lengths
    from vlp.phrases.graph import Phrase, Span
    from vlp.phrases.parser import SceneGraphParser
    from vlp.phrases.vocabulary import PhraseVocabulary

NOUN, ADJECTIVE = "object", "little"
"""What the parser reads where a mask stands, as long as `[MASK]`, so that characters keep their places: the adjective
where it is then one of a noun behind it (`a [MASK] red star`), else the noun (`two [MASK] are playing`)."""
_UNSEEN = DEPICTIONS | {"background", "foreground"}
"""Words for the picture as a whole: no box is theirs."""
_BEFORE_NOUN = frozenset(("det", "amod", "nummod", "compound", "poss", "nmod", "predet", "quantmod", "advmod"))


@dataclass(frozen=True)
class Concept:
    """A phrase tuple that the model reads, with a row of its own."""

    parts: tuple[str, ...]
    kind: str
    row: int
    """Of the joint table; the mask's where a masked word is part of it."""
    words: tuple[Span, ...]


@dataclass(frozen=True)
class NounPhrase:
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Text:
    """A text after the caps of the model's lengths."""

    text: str
    """With every mask written `[MASK]`."""
    tokens: np.ndarray
    """[T] word-piece ids without specials."""
    spans: np.ndarray
    """[T,2] characters."""
    concepts: tuple[Concept, ...]
    noun_phrases: tuple[NounPhrase, ...]
    cut: str
    """The end of the text that the model does not see."""
    concepts_cut: tuple[Concept, ...]
    """Concepts that the model does not see."""

    @property
    def phrase_words(self) -> np.ndarray:
        """[m,2] pairs (concept, word piece)."""
        spans = [(int(a), int(b)) for a, b in self.spans]
        pairs = [(c, w) for c, concept in enumerate(self.concepts) for w in pieces_of(concept.words, spans)]
        return np.asarray(pairs, np.int32).reshape(-1, 2)

    @property
    def rows(self) -> np.ndarray:
        """[C] rows of the concepts in the joint table."""
        return np.asarray([c.row for c in self.concepts], np.int32)


def text_set(texts: Sequence[Text]) -> TextSet:
    """The texts in the form that the collator reads; which image each is of is left to the caller."""
    ragged = {
        "token": [t.tokens for t in texts],
        "phrase": [t.rows for t in texts],
        "phrase_word": [t.phrase_words for t in texts],
    }
    arrays = {f"{name}s": np.concatenate(values) for name, values in ragged.items()}
    arrays |= {f"{name}_offsets": np.cumsum([0, *map(len, values)]) for name, values in ragged.items()}
    arrays["token_spans"] = np.concatenate([t.spans for t in texts])
    named = {"ids": np.char.encode(np.arange(len(texts)).astype(str)), "split": np.full(len(texts), b"test")}
    return TextSet({**named, "image_ids": np.full(len(texts), b""), **arrays})


class Reader:
    """Args:
    lengths: caps that hold, as in training.
    use_phrases: the model reads phrase concepts.
    """

    def __init__(
        self,
        parser: SceneGraphParser,
        tokenizer: PreTrainedTokenizerBase,
        vocabulary: PhraseVocabulary,
        lengths: Lengths,
        use_phrases: bool,
    ) -> None:
        self._parser, self._tokenizer, self._vocabulary = parser, tokenizer, vocabulary
        self._lengths, self._use_phrases = lengths, use_phrases

    def __call__(self, text: str) -> Text:
        """Raises InputError: the text is empty, or a mask stands in the part that is too long for the model."""
        text = re.sub(re.escape(MASK), MASK, text, flags=re.IGNORECASE)
        if not text.strip():
            raise InputError("text", "it is empty.", "Give a sentence.")
        pieces = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, truncation=False)
        room = self._lengths.words - 2
        spans = np.asarray(pieces["offset_mapping"], np.int32).reshape(-1, 2)
        cut = text[int(spans[room, 0]) :] if len(spans) > room else ""
        seen = len(text) - len(cut)
        if MASK in cut:
            raise InputError(
                "text",
                f"it has {len(spans)} word pieces, the model reads {room}; a mask stands in what was cut: {cut!r}.",
                "Shorten the text.",
            )
        # The whole text is parsed, as in the corpus; only then the caps hold.
        concepts, noun_phrases = self._parse(text)
        limit = self._lengths.phrases if self._use_phrases else 0
        return Text(
            text=text,
            tokens=np.asarray(pieces["input_ids"], np.int32)[:room],
            spans=spans[:room],
            concepts=concepts[:limit],
            noun_phrases=tuple(p for p in noun_phrases if p.end <= seen),
            cut=cut,
            concepts_cut=concepts[limit:] if self._use_phrases else (),
        )

    def _parse(self, text: str) -> tuple[tuple[Concept, ...], tuple[NounPhrase, ...]]:
        masks = [m.span() for m in re.finditer(re.escape(MASK), text)]
        doc = self._parser.doc(self._without_masks(text, masks))
        graph = self._parser.graph(doc, text)
        concepts = []
        for phrase in graph.phrases():
            row = self._row(phrase, masks)
            if row is not None:
                shown = phrase.parts
                if any(m in phrase.words for m in masks):
                    shown = tuple(MASK if p in (NOUN, ADJECTIVE) else p for p in phrase.parts)
                concepts.append(Concept(shown, phrase.kind, row, phrase.words))
        sentence = Sentence(doc, self._parser.lexicon)
        found = [noun_phrase(noun, text) for noun in sentence.things() if noun.lower_ not in _UNSEEN]
        found = [p for p in found if not any(q.start <= p.start and p.end <= q.end for q in found if q != p)]
        return tuple(concepts), tuple(sorted(found, key=lambda p: p.start))

    def _without_masks(self, text: str, masks: list[Span]) -> str:
        if not masks:
            return text
        readable = text
        as_noun, as_adjective = (self._parser.doc(text.replace(MASK, word)) for word in (NOUN, ADJECTIVE))
        for start, end in masks:
            word = ADJECTIVE if describes(start, as_noun, as_adjective) else NOUN
            readable = readable[:start] + word + readable[end:]
        return readable

    def _row(self, phrase: Phrase, masks: list[Span]) -> int | None:
        """The concept's row; [MASK] for one that holds a masked word, as in training, if the vocabulary has a tuple
        that fits what is not masked: without one no such concept was there in training either."""
        if not any(m in phrase.words for m in masks):
            return self._vocabulary.id_of(phrase.parts)
        wanted = [None if p in (NOUN, ADJECTIVE) else p for p in phrase.parts]
        known = (r.parts for r in self._vocabulary.records if r.kind == phrase.kind)
        fits = any(all(w in (None, p) for w, p in zip(wanted, parts, strict=True)) for parts in known)
        return int(self._tokenizer.mask_token_id) if fits else None  # type: ignore[arg-type]


def describes(start: int, as_noun: Doc, as_adjective: Doc) -> bool:
    """True where a mask is an adjective: only adjectives and participles stand between it and a noun, and that is a
    noun in both readings (`stands` is one in `a little stands next to`, not in `a object stands next to`)."""
    place = next((t.i for t in as_adjective if t.idx == start), None)
    if place is None or len(as_noun) != len(as_adjective):
        return False
    for a, b in zip(as_adjective[place + 1 :], as_noun[place + 1 :], strict=True):
        if a.tag_.startswith("NN"):
            return b.tag_.startswith("NN") and a.lower_ not in SIDES
        if not a.tag_.startswith(("JJ", "VBN", "VBD")):
            return False
    return False


def noun_phrase(noun: Token, text: str) -> NounPhrase:
    """A noun with the words before it that belong to it: `a small red star`, not what follows it."""
    first = noun
    while (words := [c for c in first.lefts if c.dep_ in _BEFORE_NOUN]) and words[0].i < first.i:
        first = words[0]
    start, end = span(first)[0], span(noun)[1]
    return NounPhrase(text[start:end], start, end)
