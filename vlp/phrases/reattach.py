"""Repairs of what hangs on the wrong word: participles, conjuncts, places. `repair.py` says in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlp.phrases import words

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token


def participle_of_the_living(doc: Doc, lexicon: words.Lexicon) -> None:
    """`a man in a shirt doing a trick`, `walks down a path holding a kite`: read as a shirt that does, a path that
    holds; of the nouns before it the living one does it."""
    for verb in doc:
        place = verb.head
        if verb.tag_ != "VBG" or verb.dep_ != "acl" or place.dep_ != "pobj" or _lives(place):
            continue
        noun = place.head.head
        while noun.dep_ == "pobj" and noun.head.lower_ != "of" and not _lives(noun):
            noun = noun.head.head
        noun = _subject(noun)
        if place.head.lower_ != "of" and noun.tag_.startswith("NN") and noun.i < place.i and _lives(noun):
            verb.head = noun


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


def particle_with_an_object(doc: Doc, lexicon: words.Lexicon) -> None:
    """`driving down a street`: read as `drive down`, with a street beside it; what has an object is a preposition."""
    for particle in doc:
        if particle.dep_ == "prt" and any(c.dep_ == "pobj" for c in particle.children):
            particle.dep_, particle.tag_ = "prep", "IN"


def the_noun_before(doc: Doc, lexicon: words.Lexicon) -> None:
    """`sits on a bench in a park`, `holds a toy in its mouth`: read with the place at the verb or the noun before it.

    Right association (Kimball, 1973) settles it: of a chain of prepositions each belongs to the noun before it, and a
    place behind an object to the object. Not where the meaning is another: a time, what somebody wears, a companion
    (`with a dog`), and what is carried along a way (`down a slope with poles`); a place that one is in or at may have
    things (`in a room with a bed`).
    """
    for prep in doc[2:]:
        if prep.dep_ != "prep" or prep.lower_ == "of" or prep.tag_ != "IN":
            continue
        # `next` of `next to` stands for both.
        joined = prep.head.dep_ == "advmod" and (prep.head.lower_, prep.lower_) in words.JOINED_PREPOSITIONS
        first = prep.head if joined and prep.head.i > 1 else prep
        place = _place_before(first)
        head, noun = first.head, place or _object_before(first, lexicon)
        object_ = next((c for c in prep.children if c.dep_ == "pobj"), None)
        if noun is None or object_ is None or head.i >= noun.i or object_.lower_ in words.TIMES:
            continue
        worn = prep.lower_ == "in" and object_.lower_ in words.GARMENTS
        furnishes = prep.lower_ == "with" and place is not None and _stands_at(place) and not _lives(object_)
        where = joined or furnishes or prep.lower_ in words.LOCATIVES
        if not worn and (where or not _lives(_subject(head))):
            first.head = noun


def place_of_both(doc: Doc, lexicon: words.Lexicon) -> None:
    """`a knife and a fork on a plate`: read as a place of the fork; both lie there, so it hangs on the first."""
    for prep in doc[2:]:
        noun = prep.head
        if prep.dep_ != "prep" or prep.lower_ not in words.LOCATIVES or noun.dep_ != "conj" or noun.i > prep.i:
            continue
        while noun.dep_ == "conj":
            noun = noun.head
        if noun.tag_.startswith("NN") and prep.head.tag_.startswith("NN") and noun.dep_ != "pobj":
            prep.head = noun


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


def _place_before(prep: Token) -> Token | None:
    """The noun right before `prep` that an earlier preposition of the same head leads to; of `side of a road`: side."""
    noun, head = prep.nbor(-1), prep.head
    while noun.dep_ in ("pobj", "conj") and noun.tag_.startswith("NN"):
        governor = noun.head
        if noun.dep_ == "pobj" and governor.lower_ != "of":
            above = list(noun.ancestors)
            return noun if head in above and prep not in above else None
        noun = governor if noun.dep_ == "conj" else governor.head
    return None


def _object_before(prep: Token, lexicon: words.Lexicon) -> Token | None:
    """The object right before a locative, or the first of its conjuncts, if it is a thing of its own.

    A bare singular is part of what is done (`play tennis on a court`), but for verbs like `have`; and who rides a wave
    in the ocean is there as much as the wave.
    """
    noun, verb = prep.nbor(-1), prep.head
    while noun.dep_ == "conj":
        noun = noun.head
    stands = noun.dep_ == "dobj" and noun.head == verb and noun.tag_.startswith("NN")
    own = noun.tag_ in ("NNS", "NNPS") or any(c.dep_ in ("det", "poss", "nummod") for c in noun.lefts)
    does = words.verb_lemma(verb.lower_, verb.lemma_, lexicon.verbs)
    lies_there = does in words.HAVING or (own and does not in words.VEHICLES)
    return noun if stands and lies_there and prep.lower_ in words.LOCATIVES else None


def _stands_at(noun: Token) -> bool:
    """A locative leads to it, or to the first of its conjuncts."""
    while noun.dep_ == "conj":
        noun = noun.head
    return noun.dep_ == "pobj" and noun.head.lower_ in words.LOCATIVES


def _subject(head: Token) -> Token:
    """Who does it, if `head` is a verb with a subject of its own or one that describes a noun; else `head`."""
    if not head.tag_.startswith("VB"):
        return head
    own = next((c for c in head.lefts if c.dep_ in ("nsubj", "nsubjpass")), None)
    return own if own is not None else head.head if head.dep_ in ("acl", "relcl") else head


def _lives(noun: Token) -> bool:
    """A person, an animal, or a group of them."""
    if words.is_animate(noun.lemma_.lower()) or noun.lower_ == "people":
        return True
    of = (p for p in noun.children if p.dep_ == "prep" and p.lower_ == "of")
    return any(words.is_animate(c.lemma_) or c.lower_ == "people" for p in of for c in p.children if c.dep_ == "pobj")
