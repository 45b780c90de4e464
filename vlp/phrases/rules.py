"""SPICE's rules, one function each: from a parsed sentence to attributes and relations.

SPICE (Anderson et al., 2016) reads tuples off the dependency tree with a pattern per construction. These functions
follow its conventions: lemmas in lower case; relation = verb lemma + particle + preposition; a possessive is `have`;
numerals, quantities and the first words of compounds are attributes; `be` is dropped. They go further where SPICE
leaves a plain construction out (participles without an object, adverbial clauses).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from vlp.phrases import words
from vlp.phrases.graph import Attribute, Relation
from vlp.phrases.sentence import Complement, Sentence, span

if TYPE_CHECKING:
    from spacy.tokens import Token

Rule = Callable[[Sentence], Iterator[Attribute | Relation]]


def adjectives(s: Sentence) -> Iterator[Attribute | Relation]:
    """`a young man` (man, young); `a red and white shirt`: both; `a parked car` (car, park)."""
    for noun in s.doc:
        head = s.meant(noun) if s.is_noun(noun) and not _names_place(s, noun) else None
        for adjective in s.children(noun, "amod", "nmod") if head is not None else []:
            # `a tasty looking salad` is tasty.
            for one in _joined(s, adjective) or s.children(adjective, "amod"):
                if one.tag_.startswith(("JJ", "VB", "NN")):
                    yield _attribute(s, head, one)
                for before in s.children(one, "amod", "advmod", "nmod"):
                    # `a little pink moon`: the parser hangs the first adjective on the second.
                    if before.i < one.i and (before.tag_ == "JJ" or s.only_adjective(before)):
                        yield _attribute(s, head, before)


def numerals(s: Sentence) -> Iterator[Attribute | Relation]:
    """`two men` (man, two); not `number 5`, and, as in SPICE, not of one thing (`one man`)."""
    for noun in s.doc:
        if s.is_noun(noun):
            for number in s.children(noun, "nummod"):
                if number.i < noun.i and number.lower_ not in ("one", "1"):
                    yield _attribute(s, s.meant(noun), number)


def quantities(s: Sentence) -> Iterator[Attribute | Relation]:
    """`a lot of people` (people, a); `dozens of birds` (bird, dozen); `two of the men` (man, two).

    As in SPICE the value is the first word of the quantity, and only plurals have one, not `a lot of snow`.
    """
    for token in s.doc:
        counted = s.counted(token)
        if counted is not None and counted.tag_ != "NN":
            article = next(iter(s.children(token, "det")), None)
            used = (token,) if article is None else (article, token)
            for noun in s.all_meant(counted):
                yield Attribute(s.thing(noun), s.lemma(used[0]), tuple(map(span, used)))


def compounds(s: Sentence) -> Iterator[Attribute | Relation]:
    """`a tennis court` (court, tennis); `a parking lot` (lot, parking): a noun, never a verb's lemma."""
    for noun in s.doc:
        if s.is_noun(noun) and noun.dep_ != "compound":
            for part in _compound_parts(s, noun):
                yield Attribute(s.thing(noun), s.noun_quality(part), (span(part),))


def question_words(s: Sentence) -> Iterator[Attribute | Relation]:
    """`what color` (color, what)."""
    for noun in s.doc:
        if s.is_noun(noun):
            for word in s.children(noun, "det", "poss"):
                if word.lower_ in words.QUESTION_WORDS:
                    yield _attribute(s, noun, word)


def adjective_predicates(s: Sentence) -> Iterator[Attribute | Relation]:
    """`the man is tall` (man, tall); `the star is bigger than the ring` (star, bigger than, ring)."""
    for verb in s.predicates():
        for adjective in s.children(verb, "acomp", "oprd"):
            if not adjective.tag_.startswith(("JJ", "VB")) and not s.only_adjective(adjective):
                continue
            for one in _joined(s, adjective):
                leads = any((one.lower_, p.lower_) in words.JOINED_PREPOSITIONS for p in s.children(one, "prep"))
                if _compares(s, one):
                    yield from _relations(s, s.subjects(verb), (one,), s.prepositional(one))
                elif not leads:
                    for subject in s.subjects(verb):
                        yield _attribute(s, subject, one)


def noun_predicates(s: Sentence) -> Iterator[Attribute | Relation]:
    """`the man is a rider` (man, rider)."""
    for verb in s.predicates():
        own = s.children(verb, "nsubj")
        if s.is_copula(verb) and own and not any(t.tag_ in ("WDT", "WP", "EX") for t in own):
            for noun in s.children(verb, "attr"):
                asks = any(c.lower_ in words.QUESTION_WORDS for c in s.children(noun, "det"))
                if s.is_noun(noun) and not s.counted(noun) and not asks:
                    for subject in s.subjects(verb):
                        yield _attribute(s, subject, noun)


def verbs_with_object(s: Sentence) -> Iterator[Attribute | Relation]:
    """`a man riding a wave` (man, ride, wave), in main, participle and relative clauses."""
    for verb in s.predicates():
        if not s.is_copula(verb):
            yield from _relations(s, s.subjects(verb), (), s.objects(verb), verb)


def verbs_with_preposition(s: Sentence) -> Iterator[Attribute | Relation]:
    """`sits on a bench` (man, sit on, bench); `is above` (circle, above, square): `be` is dropped.

    As in SPICE, whose pattern wants an active subject, nothing for a passive (`is parked on the street`).
    """
    for verb in s.predicates():
        if s.is_side(verb) or not s.is_passive(verb):
            name = None if s.is_copula(verb) else verb
            yield from _relations(s, s.subjects(verb), (), s.prepositional(verb), name)


def passives_with_agent(s: Sentence) -> Iterator[Attribute | Relation]:
    """`the dog is chased by a cat` (cat, chase, dog)."""
    for verb in s.predicates():
        if s.is_passive(verb):
            name, used = s.predicate(verb)
            for agent in s.children(verb, "agent"):
                for doer in (t for p in s.children(agent, "pobj") for t in s.all_meant(p)):
                    for subject in s.subjects(verb):
                        yield Relation(s.thing(doer), name, s.thing(subject), tuple(map(span, (*used, agent))))


def verbs_alone(s: Sentence) -> Iterator[Attribute | Relation]:
    """`a woman is smiling` (woman, smile), where the verb leads to no other thing; `is striped`: as before a noun.

    As in SPICE without particles (`sits down`: sit), and nothing for what is done to something (`is shown`,
    `a piece cut out`), but for an adjective made like a participle.
    """
    for verb in s.predicates():
        leads_on = any(True for _ in s.objects(verb)) or s.prepositional(verb)
        if s.is_copula(verb) or leads_on or (verb.dep_ in ("relcl", "ccomp") and not _own_subject(s, verb)):
            continue
        state = s.is_state(verb) and verb.lower_ in words.MADE_FROM_NOUNS
        done_to = s.is_passive(verb) or (verb.dep_ == "acl" and verb.tag_ in ("VBN", "VBD"))
        if done_to and not state:
            continue
        for subject in s.subjects(verb):
            yield Attribute(s.thing(subject), s.quality(verb) if state else s.lemma(verb), (span(verb),))


def prepositions(s: Sentence) -> Iterator[Attribute | Relation]:
    """`man in shirt` (man, in, shirt); `a cup on top of a table` (cup, on top of, table)."""
    for noun in s.doc:
        if not s.is_noun(noun) or s.counted(noun) is not None or _names_place(s, noun):
            continue
        yield from _relations(s, [noun], (), s.prepositional(noun))
    for token in s.doc:
        counted = s.counted(token)
        if counted is not None:
            rest = [c for c in s.prepositional(token) if c.words[0].i != token.i + 1]
            yield from _relations(s, s.all_meant(counted), (), rest)


def possessives(s: Sentence) -> Iterator[Attribute | Relation]:
    """`the man's hat`, `a man and his hat` (man, have, hat)."""
    for noun in s.doc:
        if s.is_noun(noun):
            for owner in s.children(noun, "poss"):
                for one in s.all_meant(owner):
                    if one != noun:
                        marks = s.children(owner, "case") if s.is_noun(owner) else [owner]
                        yield Relation(s.thing(one), "have", s.thing(noun), tuple(map(span, marks)))


RULES: tuple[Rule, ...] = (
    adjectives,
    numerals,
    quantities,
    compounds,
    question_words,
    adjective_predicates,
    noun_predicates,
    verbs_with_object,
    verbs_with_preposition,
    passives_with_agent,
    verbs_alone,
    prepositions,
    possessives,
)


def _attribute(s: Sentence, noun: Token | None, value: Token) -> Attribute:
    assert noun is not None
    return Attribute(s.thing(noun), s.quality(value), (span(value),))


def _relations(
    s: Sentence,
    subjects: list[Token],
    before: tuple[Token, ...],
    complements: Iterable[Complement],
    verb: Token | None = None,
) -> Iterator[Relation]:
    """Every subject with every thing; name = verb lemma and particle, or the words `before`, then the preposition."""
    name, used = s.predicate(verb) if verb is not None else (" ".join(s.lemma(t) for t in before), before)
    for c in complements:
        spans = tuple(map(span, (*used, *c.words)))
        for subject in subjects:
            for thing in c.things:
                if thing != subject:
                    yield Relation(s.thing(subject), f"{name} {c.name}".strip(), s.thing(thing), spans)


def _joined(s: Sentence, adjective: Token) -> list[Token]:
    says = words.says_something(adjective.lower_) and adjective.lower_ not in words.NO_ATTRIBUTES
    found = [adjective] if says else []
    for other in s.children(adjective, "conj"):
        named_so = other.tag_.startswith("NN") and s.is_adjective(other)  # the colour orange
        if other.tag_[:2] == adjective.tag_[:2] or other.tag_.startswith(("JJ", "VBN")) or named_so:
            found += _joined(s, other)
    return found


def _compound_parts(s: Sentence, noun: Token) -> list[Token]:
    found: list[Token] = []
    for part in s.children(noun, "compound"):
        found += [*_compound_parts(s, part), *([part] if words.says_something(part.lower_) else ())]
    return found


def _compares(s: Sentence, adjective: Token) -> bool:
    return any(p.lower_ == "than" for p in s.children(adjective, "prep"))


def _own_subject(s: Sentence, verb: Token) -> bool:
    return bool(s.children(verb, "nsubj", "nsubjpass"))


def _names_place(s: Sentence, noun: Token) -> bool:
    """`left` in `to the left of`: part of a relation's name, no thing."""
    return noun.dep_ == "pobj" and s.place(noun) is not None
