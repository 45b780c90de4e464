"""Mend what a small model gets wrong in captions, on the parsed text itself, before the rules read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vlp.phrases import reattach, words

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


def participle_after_its_noun(doc: Doc, lexicon: words.Lexicon) -> None:
    """`two dogs meeting near a pond`, `a surfboard riding a wave`: read as a noun `dogs meeting`, `surfboard riding`.

    A compound's first word is not plural, what follows a thing named on -ing is no article of another, and `a zebra
    standing` is one zebra.
    """
    for token in doc[1:]:
        if token.tag_ not in ("NN", "NNP", "VBG") or not token.lower_.endswith("ing"):
            continue
        noun, verb = token.nbor(-1), words.verb_of_participle(token.lower_, lexicon.verbs)
        if verb is None or noun.head != token or token.dep_ == "compound" or not _in_noun_place(token):
            continue
        names_thing = token.lower_ in words.ING_NOUNS or not _noun_before(noun, lexicon)
        does = words.is_animate(noun.lemma_.lower()) and any(c.lower_ in ("a", "an") for c in token.lefts)
        if noun.tag_ != "NNS" and (names_thing or not (does or _opens_complement(token))):
            continue
        left = [c for c in token.children if c.i < noun.i]
        _take_place(noun, token)
        if not noun.tag_.startswith("NN"):
            noun.tag_ = "NN"
        _as_verb(token, "VBG", verb)
        token.head, token.dep_ = noun, "acl"
        _give(left, noun)


def verb_read_as_noun(doc: Doc, lexicon: words.Lexicon) -> None:
    """`a herd of cows mill about`: read as a mill of cows; a compound's first word is not plural."""
    for verb in doc[1:-1]:
        noun = verb.nbor(-1)
        if noun.tag_ != "NNS" or noun.dep_ != "compound" or noun.head != verb or not verb.tag_.startswith("NN"):
            continue
        lemma = verb.lower_ if verb.lower_ in lexicon.verbs else words.third_person(verb.lower_, lexicon.verbs)
        if lemma is not None and _opens_complement(verb):
            left = list(verb.lefts)
            _take_place(noun, verb)
            _as_verb(verb, "VBP", lemma)
            verb.head, verb.dep_ = noun, "acl"
            _give([c for c in left if c != noun], noun)


def noun_read_as_verb(doc: Doc, lexicon: words.Lexicon) -> None:
    """`a stone oven with logs`, `a pair of glass vases`: read as a stone that ovens; no known verb has this form."""
    for token in doc[1:]:
        noun, form = token.nbor(-1), token.lower_
        if not token.tag_.startswith("VB") or token.dep_.startswith("aux") or not noun.tag_.startswith("NN"):
            continue
        singular = words.noun_lemma(form, form, "NN", lexicon)
        known = {form, token.lemma_.lower(), words.third_person(form, lexicon.verbs)} & lexicon.verbs
        if known or form.endswith(("ing", "ed")) or singular not in lexicon.nouns or noun not in token.subtree:
            continue
        subject = next((c for c in token.lefts if c.dep_ in ("nsubj", "nsubjpass") and noun in c.subtree), None)
        if subject is None or any(c.i < token.i and c != subject for c in token.children):
            continue
        token.tag_, token.lemma_ = "NN" if singular == form else "NNS", singular
        if noun != subject:
            _take_place(subject, token)
            token.head, token.dep_ = noun.head, noun.dep_
        _give([c for c in noun.children if c.i < noun.i], token)
        noun.head, noun.dep_ = token, "compound"


def subject_read_as_compound(doc: Doc, lexicon: words.Lexicon) -> None:
    """`large umbrellas line the sidewalk`, `a man and woman smile`: a verb with an object or a clause, yet what stands
    before it is parsed as a compound's; a verb has a subject."""
    for verb in doc[1:]:
        noun = next((c for c in verb.children if c.dep_ in ("compound", "nmod") and c.tag_.startswith("NN")), None)
        if noun is None or not verb.tag_.startswith("VB") or verb.dep_ in ("amod", "compound"):
            continue
        goes_on = any(c.dep_ in ("dobj", "prep", "conj", "prt") and c.i > verb.i for c in verb.children)
        last = list(noun.subtree)[-1]
        if noun.i < verb.i and last.i == verb.i - 1 and goes_on:
            _give([c for c in verb.children if c.i < noun.i], noun)
            noun.dep_ = "nsubj"


def possessor_without_apostrophe(doc: Doc, lexicon: words.Lexicon) -> None:
    """`on a persons legs`: read as legs of the kind persons; the article for one thing shows that one has them."""
    for noun in doc[1:]:
        owned = noun.head
        if noun.dep_ != "compound" or noun.tag_ != "NNS" or not words.is_animate(noun.lemma_.lower()):
            continue
        left = [c for c in owned.children if c.i < noun.i and c.dep_ in _OF_THE_NOUN]
        if any(c.dep_ == "det" and c.lower_ in _SINGULAR_ARTICLES for c in left):
            _give(left, noun)
            noun.dep_ = "poss"


def plural_read_as_verb(doc: Doc, lexicon: words.Lexicon) -> None:
    """`two teddy bears`: read as a teddy that bears; the number wants a plural."""
    for token in doc[1:]:
        noun = token.nbor(-1)
        if token.tag_ not in ("VBZ", "NNS") or noun.dep_ != "nsubj" or noun.head != token:
            continue
        several = any(c.dep_ == "nummod" and c.lower_ not in ("one", "1") for c in noun.children)
        if several and noun.tag_ in ("NN", "NNP") and token.lower_.removesuffix("s") in lexicon.nouns:
            token.tag_, token.lemma_ = "NNS", token.lower_.removesuffix("s")
            left = [c for c in noun.children if c.i < noun.i]
            noun.dep_ = "compound"
            _give(left, token)


def noun_after_its_compound(doc: Doc, lexicon: words.Lexicon) -> None:
    """`a fire hydrant on a corner`: read as a thing `fire` with an adjective `hydrant` behind it."""
    for noun in doc[1:]:
        first = noun.nbor(-1)
        if noun.tag_ != "JJ" or noun.dep_ != "amod" or noun.head != first or first.tag_ != "NN":
            continue
        if noun.lower_ in lexicon.adjectives or noun.lower_ not in lexicon.nouns:
            continue
        children = list(first.children)
        noun.tag_, noun.lemma_ = "NN", noun.lower_
        _take_place(noun, first)
        first.head, first.dep_ = noun, "compound"
        for child in children:
            if child != noun:
                child.head = noun


def adjective_before_compound(doc: Doc, lexicon: words.Lexicon) -> None:
    """`a yellow school bus`: read as a yellow school; as in SPICE's flat noun phrase all is said of the last noun."""
    for word in doc:
        while word.dep_ in ("amod", "nummod", "det", "poss") and word.head.dep_ == "compound":
            if not word.i < word.head.i < word.head.head.i:
                break
            word.head = word.head.head


def noun_joined_to_the_next(doc: Doc, lexicon: words.Lexicon) -> None:
    """`a refrigerator and brown cabinets`: read as cabinets of the kind refrigerator; an adjective parts the two."""
    for first in doc:
        second = first.head
        if first.dep_ not in ("nmod", "compound") or not first.tag_.startswith("NN") or second.i < first.i + 3:
            continue
        joins = doc[first.i + 1].dep_ == "cc" and doc[first.i + 1].head in (first, second)
        if not joins or first.lower_ in lexicon.adjectives or not second.tag_.startswith("NN"):
            continue
        between = [t for t in doc[first.i + 2 : second.i] if t.head == second]
        if not between or between[0].dep_ not in ("amod", "det", "nummod", "poss"):
            continue
        before = [c for c in second.children if c.i < first.i]
        after = [c for c in second.children if c.i > second.i and c.dep_ in ("prep", "acl", "relcl")]
        _take_place(first, second)
        second.head, second.dep_ = first, "conj"
        for child in (*before, *after):
            child.head = first


def article_parts_joined(doc: Doc, lexicon: words.Lexicon) -> None:
    """`a stove and kitchen cabinets`: read as cabinets of a stove and a kitchen; its article leaves the stove alone."""
    for first in doc:
        second = first.head
        if first.dep_ not in ("nmod", "compound") or first.tag_ not in ("NN", "NNP") or second.i < first.i + 2:
            continue
        link = next((t for t in doc[first.i + 1 : second.i] if t.dep_ == "cc" and t.head in (first, second)), None)
        articles = (c for c in (*second.children, *first.children) if c.i < first.i and c.dep_ == "det")
        one = any(c.lower_ in _SINGULAR_ARTICLES for c in articles)
        if link is None or not one or second.tag_ not in ("NNS", "NNPS"):
            continue
        left = [c for c in second.children if c.i < first.i]
        for word in [c for c in first.children if c.dep_ == "conj" and c.i < second.i]:
            word.head, word.dep_ = second, "compound" if word.tag_.startswith("NN") else "amod"
        _take_place(first, second)
        second.head, second.dep_ = first, "conj"
        for child in (*left, link):
            child.head = first


def object_of_participle(doc: Doc, lexicon: words.Lexicon) -> None:
    """`down a path holding umbrellas`: read as holding umbrellas, as one says `smiling people`; the path ends it.

    `a boat docking area` stays a compound: its article belongs to the area.
    """
    for verb in doc[1:-1]:
        noun, thing = verb.nbor(-1), verb.head
        between = verb.dep_ in ("amod", "compound", "nmod") and noun.tag_.startswith("NN") and thing.i > verb.i
        lemma = words.verb_of_participle(verb.lower_, lexicon.verbs) if verb.lower_.endswith("ing") else None
        names_thing = noun.tag_ != "NNS" and verb.lower_ in words.ING_NOUNS | words.PURPOSES
        if not between or lemma is None or names_thing or not thing.tag_.startswith("NN"):
            continue
        if any(t.head not in (verb, thing) for t in doc[verb.i + 1 : thing.i]):
            continue
        if noun.head in (thing, verb):
            left = [c for c in (*noun.children, *thing.children, *verb.children) if c.i < noun.i]
            article = any(c.dep_ in ("det", "poss", "nummod") for c in left)
            if not words.is_animate(noun.lemma_.lower()) and not (thing.tag_ in ("NNS", "NNPS") and article):
                continue
            _take_place(noun, thing)
            for child in left:
                child.head = noun
        elif noun.dep_ in ("compound", "amod", "nmod") or thing.head == thing or thing in noun.ancestors:
            continue
        _as_verb(verb, "VBG", lemma)
        verb.head, verb.dep_ = noun, "acl"
        thing.head, thing.dep_ = verb, "dobj"


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
            left = [c for c in side.children if c.i < noun.i]
            _take_place(noun, side)
            _give(left, noun)
        side.head, side.dep_, side.tag_ = noun, "prep", "IN"


def its_with_an_apostrophe(doc: Doc, lexicon: words.Lexicon) -> None:
    """`a dog with a toy in it's mouth`: read as `it is`; behind a preposition it is `its`, misspelt."""
    for it in doc[1:-2]:
        prep, mark, rest = it.nbor(-1), it.nbor(1), doc[it.i + 2 :]
        if it.lower_ != "it" or mark.lower_ != "'s" or mark.tag_ == "POS" or prep.tag_ not in ("IN", "RP"):
            continue
        noun = next((t for t in rest[:3] if t.lower_ in lexicon.nouns and not t.tag_.startswith(("JJ", "CD"))), None)
        if noun is None:
            continue
        head, label = mark.head, mark.dep_
        for child in list(mark.children):
            if child.i > mark.i and child != noun:
                child.head, child.dep_ = (noun, "amod") if child.i < noun.i else (prep, child.dep_)
            elif child.i < it.i:
                child.head, child.dep_ = (child, "ROOT") if head == mark else (head, label)
        if prep.head == mark or prep.head == prep:
            prep.head, prep.dep_ = doc[prep.i - 1], "prep"
        noun.tag_ = "NN" if not noun.tag_.startswith("NN") else noun.tag_
        noun.head, noun.dep_ = prep, "pobj"
        it.head, it.dep_, it.tag_ = noun, "poss", "PRP$"
        mark.head, mark.dep_, mark.tag_ = it, "case", "POS"


REPAIRS: tuple[Repair, ...] = (
    its_with_an_apostrophe,
    reattach.particle_with_an_object,
    singular_article_before_plural,
    participle_after_its_noun,
    verb_read_as_noun,
    noun_read_as_verb,
    subject_read_as_compound,
    possessor_without_apostrophe,
    plural_read_as_verb,
    noun_after_its_compound,
    article_parts_joined,
    object_of_participle,
    noun_joined_to_the_next,
    adjective_before_compound,
    adjective_cut_from_noun,
    side_after_noun,
    reattach.participle_behind_object,
    reattach.participle_of_the_living,
    reattach.conjunct_without_its_and,
    reattach.behind_a_depiction,
    reattach.the_noun_before,
    reattach.place_of_both,
)


def _in_noun_place(token: Token) -> bool:
    """It stands where a noun does: with an article, a number or a compound before it."""
    return token.tag_ != "VBG" or any(c.dep_ in ("det", "nummod", "compound") for c in token.lefts)


def _noun_before(word: Token, lexicon: words.Lexicon) -> bool:
    known = word.lower_ in lexicon.nouns and word.lower_ not in lexicon.adjectives
    return word.dep_ in ("compound", "amod", "nmod") and (word.tag_.startswith("NN") or known)


def _opens_complement(token: Token) -> bool:
    """What follows belongs to a verb: an article, a possessive, a preposition (but `of`), `down`, `next`."""
    if token.i + 1 >= len(token.doc):
        return False
    after = token.nbor(1)
    opens = after.tag_ in ("DT", "PRP$", "IN", "RP", "TO", "CD") and after.lower_ != "of"
    return opens or after.lower_ == "next"


def _as_verb(token: Token, tag: str, lemma: str) -> None:
    token.tag_, token.lemma_ = tag, lemma


def _take_place(word: Token, other: Token) -> None:
    """`word` hangs where `other` does."""
    word.head, word.dep_ = (word, "ROOT") if other.head == other else (other.head, other.dep_)


def _give(children: list[Token], noun: Token) -> None:
    for child in children:
        if child.dep_ in _OF_THE_NOUN:
            child.head = noun
