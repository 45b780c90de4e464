"""Mend what a small model gets wrong in captions, on the parsed text itself, before the rules read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vlp.phrases import words

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

Repair = Callable[["Doc", words.Lexicon], None]

_SINGULAR_ARTICLES = frozenset(("a", "an", "another", "this", "each", "every", "one"))
_OF_THE_NOUN = frozenset(("det", "amod", "nummod", "compound", "poss", "nmod", "predet"))


def singular_article_before_plural(doc: Doc, lexicon: words.Lexicon) -> None:
    """`a white dog leaps over`, read as a noun `dog leaps`: the article for one thing shows that `leaps` is a verb.

    In `a man wearing a helmet points` the noun stays the object, and the verb belongs to who wears it.
    """
    for token in doc:
        verb = words.third_person(token.lower_, lexicon.verbs) if token.tag_ == "NNS" else None
        noun = token.nbor(-1) if verb and token.i else None
        if verb is None or noun is None or noun.head != token or noun.dep_ != "compound":
            continue
        left = [c for c in token.children if c.i < noun.i]
        if not any(c.dep_ == "det" and c.lower_ in _SINGULAR_ARTICLES for c in (*left, *noun.children)):
            continue
        head, label = token.head, token.dep_
        _as_verb(token, "VBZ", verb)
        _give(left, noun)
        if label not in ("dobj", "pobj"):
            noun.dep_ = "nsubj"
            continue
        clause = next((a for a in token.ancestors if a.tag_.startswith("VB")), None)
        last = list(token.ancestors)[-1]
        noun.head, noun.dep_ = head, label
        token.head, token.dep_ = (clause, "advcl") if clause is not None else (last, "acl")


def plural_before_participle(doc: Doc, lexicon: words.Lexicon) -> None:
    """`two dogs meeting near a pond`: read as a noun `dogs meeting`; a compound's first word is not plural."""
    for token in doc:
        if token.tag_ != "NN" or not token.lower_.endswith("ing") or not token.i:
            continue
        noun, verb = token.nbor(-1), words.verb_of_participle(token.lower_, lexicon.verbs)
        if verb is None or noun.head != token or noun.dep_ != "compound" or noun.tag_ != "NNS":
            continue
        left = [c for c in token.children if c.i < noun.i]
        head, label, root = token.head, token.dep_, token.head == token
        noun.head, noun.dep_ = (noun, "ROOT") if root else (head, label)
        _as_verb(token, "VBG", verb)
        token.head, token.dep_ = noun, "acl"
        _give(left, noun)


def adjective_cut_from_noun(doc: Doc, lexicon: words.Lexicon) -> None:
    """`under a tiny purple cross`: read as `a tiny purple` and, further up, `cross`; the article wants the noun."""
    for adjective in doc[:-1]:
        noun = adjective.nbor(1)
        looks_so = adjective.tag_.startswith(("JJ", "NN")) and adjective.lower_ in lexicon.adjectives
        if not looks_so or adjective.dep_ not in ("pobj", "dobj") or noun.dep_ not in ("acomp", "attr", "oprd", "dep"):
            continue
        article = any(c.dep_ == "det" for c in adjective.children)
        if article and noun.lower_ in lexicon.nouns and noun.head.i < adjective.i and not noun.n_lefts:
            left, head, label = list(adjective.lefts), adjective.head, adjective.dep_
            noun.tag_, noun.lemma_ = "NN", noun.lower_
            noun.head, noun.dep_ = head, label
            adjective.head, adjective.dep_, adjective.tag_ = noun, "amod", "JJ"
            _give(left, noun)


def side_after_noun(doc: Doc, lexicon: words.Lexicon) -> None:
    """`an arrow right of a block`: read as a noun `arrow right`; without an article `right of` is a preposition."""
    for side in doc[1:-1]:
        noun = side.nbor(-1)
        if side.lower_ not in words.SIDES or side.nbor(1).lower_ != "of" or not side.tag_.startswith("NN"):
            continue
        if not noun.tag_.startswith("NN"):
            continue
        if noun.head == side:
            left, root = [c for c in side.children if c.i < noun.i], side.head == side
            noun.head, noun.dep_ = (noun, "ROOT") if root else (side.head, side.dep_)
            _give(left, noun)
        side.head, side.dep_, side.tag_ = noun, "prep", "IN"


def participle_behind_object(doc: Doc, lexicon: words.Lexicon) -> None:
    """`a child in a shirt standing on a dock`: read as `in standing`; a preposition has one object."""
    for verb in doc:
        prep = verb.head
        if verb.dep_ == "pcomp" and verb.tag_ in ("VBG", "VBN") and any(c.dep_ == "pobj" for c in prep.children):
            verb.head, verb.dep_ = prep.head, "acl" if prep.head.tag_.startswith("NN") else "advcl"


def conjunct_without_its_and(doc: Doc, lexicon: words.Lexicon) -> None:
    """`a man in a shirt and jeans`: read with `and` at the shirt, but `jeans` at the man; the two go together."""
    for conjunct in doc:
        if conjunct.dep_ != "conj" or any(c.dep_ == "cc" for c in conjunct.head.children):
            continue
        between = doc[conjunct.head.i + 1 : conjunct.i]
        link = next((t for t in reversed(between) if t.dep_ == "cc"), None)
        noun = link.head if link is not None else None
        if noun is None or not (noun.tag_.startswith("NN") and conjunct.tag_.startswith("NN")):
            continue
        if conjunct.head.i < noun.i < conjunct.i and not any(c.dep_ == "conj" for c in noun.children):
            conjunct.head = noun


def behind_a_depiction(doc: Doc, lexicon: words.Lexicon) -> None:
    """`a drawing of a moon to the left of a star`: read as `drawing to the left of`; the moon stands there."""
    for picture in doc:
        if picture.lower_ not in words.DEPICTIONS:
            continue
        shown: Token | None = None
        for child in list(picture.rights):
            if shown is None and child.dep_ == "prep" and child.lower_ in ("of", "with"):
                shown = next((c for c in child.children if c.dep_ == "pobj" and c.tag_.startswith("NN")), None)
            elif shown is not None and child.dep_ in ("prep", "acl"):
                child.head = shown


REPAIRS: tuple[Repair, ...] = (
    singular_article_before_plural,
    plural_before_participle,
    adjective_cut_from_noun,
    side_after_noun,
    participle_behind_object,
    conjunct_without_its_and,
    behind_a_depiction,
)


def _as_verb(token: Token, tag: str, lemma: str) -> None:
    token.tag_, token.lemma_ = tag, lemma


def _give(children: list[Token], noun: Token) -> None:
    for child in children:
        if child.dep_ in _OF_THE_NOUN:
            child.head = noun
