"""Single words: lemmas, and the small closed word classes that the rules use."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spacy.tokens import Token


def _set(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


A_QUANTITIES = _set(
    "lot assortment number couple bunch handful litany sheaf slew dozen series variety multitude wad clutch wave "
    "mountain array spate string ton range plethora heap sort form kind type version bit pair triple total"
)
"""`a lot of people`: the quantity is an attribute of what it counts. A group, herd or crowd is a thing of its own.

This list, the next, and most of the third are those of the Stanford scene graph parser (Schuster et al., 2015), on
which SPICE is built."""

QUANTITIES = _set(
    "lots many several plenty tons dozens multitudes mountains loads pairs tens hundreds thousands millions billions"
)
"""`dozens of birds`, without an article."""

PARTITIVES = _set("one two three four five six seven eight nine ten some all both neither most each any")
"""`two of the men`, before a noun with its article."""

QUESTION_WORDS = frozenset(("what", "which", "whose"))
RELATIVE_PRONOUNS = frozenset(("who", "which", "that", "whom"))

BARE_PLACE_NOUNS = _set("top front back")
"""`on top of`: without a determiner the noun is no object but part of the relation."""
SIDES = frozenset(("left", "right"))
"""`to the left of` is a relation with its determiner too."""
_JOINED = """
across from, along with, alongside of, apart from, as for, as from, as of, as per, as to, aside from, away from,
close by, close to, contrary to, except for, exclusive of, far from, inside of, irrespective of, near to, next to,
off of, out of, outside of, regardless of, together with, because of, instead of,
left of, right of, adjacent to, opposite to, opposite of
"""
JOINED_PREPOSITIONS = frozenset(tuple(pair.split()) for pair in _JOINED.split(","))
"""One name for a relation: the two-word prepositions of Stanford's collapsed dependencies, which SPICE reads, and a
few of ours (sides, `adjacent to`). Another adverb before a preposition is no part of the name (`out in the snow`)."""
LOCATIVES = _set(
    "in on at near by under behind beside beneath above below over inside outside around between among along "
    "underneath against atop across"
)
"""Prepositions that name a place, by themselves."""
HAVING = _set("have hold carry contain include feature show")
"""Verbs that say where their object is, as a small clause does: `has [a clock on it]`."""
VEHICLES = _set("ride drive fly row sail paddle pedal cruise surf ski skate skateboard snowboard")
"""Verbs of going on or with their object (Levin, 1993, 51.4): the place is that of who goes."""
TIMES = _set("night day morning evening afternoon dusk dawn noon sunset sunrise winter summer spring fall autumn time")
GARMENTS = _set(
    "shirt t-shirt suit dress skirt uniform hat cap helmet jacket coat vest sweater shorts pants jeans trousers tie "
    "costume outfit clothes clothing gear attire robe gown apron boot shoe glove sock swimsuit bikini wetsuit"
)

DEPICTIONS = _set("picture image photo photograph drawing painting view scene closeup shot")
"""`a picture of a dog on a sofa`: what follows tells of what is shown."""

CLAUSE_OPENERS = frozenset(("as", "while"))
"""`watches as a dog eats`: taken for prepositions, but what follows is a clause."""

NO_THINGS = _set("other same another each one close looking")
"""Words that stand alone without naming a thing (`next to each other`, `a blond one`, `a close up of`)."""
NO_ATTRIBUTES = _set("about able going such looking")
"""Tagged as adjectives, but they say nothing of the thing."""
MADE_FROM_NOUNS = _set(
    "striped dotted spotted speckled checkered bearded hooded hatted helmeted gloved horned winged wooded uniformed "
    "gilded patterned skilled talented armored motorized tattooed crowded aged naked wicked sacred rugged "
    "ragged jagged "
    "colored multicolored haired sleeved legged tailed sided eyed tiled carpeted fenced flowered"
)
"""Adjectives made like participles, of nouns (striped, bearded) or old ones (naked): no verb is meant."""
ING_NOUNS = _set(
    "building ceiling clothing railing painting awning wedding swing king ring string thing wing spring "
    "morning evening "
    "lightning icing frosting stuffing dressing topping filling seating lighting crossing opening landing clearing "
    "parking drawing meeting siding flooring bedding pudding dumpling earring herring sibling wiring nothing anything "
    "something everything seasoning packaging writing setting dining sling viking gathering"
)
"""Nouns on -ing that name a thing."""
PURPOSES = _set(
    "living dining parking wedding fishing shopping swimming waiting sleeping washing sewing baking cutting chopping "
    "changing dressing meeting landing crossing loading training skating batting riding racing running sailing cooking "
    "serving mixing measuring drinking eating reading writing operating rolling frying boarding vending watering"
)
"""`a swimming pool` is one for swimming: named as a noun is, not as something that swims."""
PLURAL_ONLY = _set(
    "clothes shorts pants trousers jeans sunglasses goggles scissors binoculars tights overalls pajamas pyjamas "
    "leggings slacks pliers"
)

PERSONS = _set(
    "man woman boy girl person child kid baby lady guy gentleman toddler adult teenager male female infant "
    "mother father mom dad son daughter husband wife brother sister bride groom chef cook guard king queen student "
    "athlete cyclist pedestrian cowboy clown nurse monk tourist couple guitarist artist bicyclist"
)
_PERSON_ENDINGS = ("er", "or", "ist", "man", "woman")
_NOT_PERSONS = _set(
    "water paper flower river computer counter corner center tower trailer helicopter motor door floor mirror "
    "color letter poster number container scooter sweater butter banner streamer shower cover feather finger "
    "shoulder summer winter laser ladder hamburger skyscraper tractor weather leather timber lumber burger "
    "refrigerator elevator monitor harbor copter"
)
ANIMALS = _set(
    "dog puppy cat kitten horse pony cow bull calf sheep lamb goat zebra giraffe elephant bear bird duck goose "
    "gull seagull "
    "pigeon parrot owl chicken monkey lion tiger deer fox wolf pig rabbit squirrel mouse rat turtle fish animal pet"
)
HE_OR_SHE = _set("he she him her his hers himself herself")
IT = _set("it its itself")
THEY = _set("they them their theirs themselves")


@dataclass(frozen=True)
class Lexicon:
    """Known words: infinitives, singulars, adjectives, adverbs, irregular plurals."""

    verbs: frozenset[str]
    nouns: frozenset[str]
    adjectives: frozenset[str]
    adverbs: frozenset[str]
    plurals: Mapping[str, str] = field(default_factory=dict)
    """Irregular plural -> singular."""


_VOWELS = "aeiou"
_HISSING_PLURAL = re.compile(r"(?:[^s]s|x|z)es$")
_IRREGULAR_VERBS = {"lay": "lay", "laying": "lay", "lying": "lie", "dyeing": "dye", "tying": "tie", "dying": "die"}
_CLIPPED_STEM = re.compile(rf"[^{_VOWELS}]*[{_VOWELS}][^{_VOWELS}wxy]")
"""One syllable with a short vowel: before -ing and -ed such a verb doubles its last letter (rid, ridding)."""


def says_something(form: str) -> bool:
    """A number, or a word of more than one letter: not the `n` of `in a n intersection`, nor a full stop."""
    return any(c.isdigit() for c in form) or sum(c.isalpha() for c in form) > 1


def is_animate(lemma: str) -> bool:
    return lemma in ANIMALS or is_person(lemma)


def is_person(lemma: str) -> bool:
    return lemma in PERSONS or (lemma.endswith(_PERSON_ENDINGS) and lemma not in _NOT_PERSONS)


def verb_lemma(form: str, lemma: str, verbs: Set[str]) -> str:
    """The infinitive of a verb form.

    The model's lemmatiser takes `riding` for `rid`, since both `rid` and `ride` are verbs. A verb of one syllable with
    a short vowel doubles its last letter (sitting, hitting, ridding), so an undoubled form comes from a verb on -e.

    Args:
        form: the word as it stands, lower case.
        lemma: what the model's lemmatiser says.
        verbs: known infinitives.
    """
    if form in _IRREGULAR_VERBS:
        return _IRREGULAR_VERBS[form]
    for ending in ("ing", "ed", "es"):
        if not form.endswith(ending):
            continue
        stem = form.removesuffix(ending)
        if _CLIPPED_STEM.fullmatch(stem) and stem + "e" in verbs:
            return stem + "e"
        doubled = len(stem) > 2 and stem[-1] == stem[-2] and _CLIPPED_STEM.fullmatch(stem[:-1])
        if doubled and stem not in verbs and stem[:-1] in verbs:
            return stem[:-1]
    # An adjective made like a participle (multicolored) is no form of a verb.
    return lemma if lemma in verbs or lemma == "be" else form


def third_person(form: str, verbs: Set[str]) -> str | None:
    """`leaps` -> `leap`, or None if it is no such form of a known verb."""
    endings = (("ies", "y"), ("s", ""), ("es", ""))
    stems = [form.removesuffix(e) + y for e, y in endings if form.endswith(e)]
    return next((stem for stem in stems if stem in verbs), None)


def verb_of_participle(form: str, verbs: Set[str]) -> str | None:
    """`riding` -> `ride`, `meeting` -> `meet`, or None if no known verb has this form."""
    stem = form.removesuffix("ing")
    guess = stem if stem in verbs else stem + "e"
    found = verb_lemma(form, guess, verbs)
    return found if found in verbs else None


def noun_lemma(form: str, lemma: str, tag: str, lexicon: Lexicon) -> str:
    """The singular; also for a noun that the tagger took for a name, a verb, an adjective or a singular.

    The model's lemmatiser takes `vases` for `vas`: a plural on a hissing sound comes from a noun on -e if there is one.
    """
    if form in PLURAL_ONLY:
        return form
    if _HISSING_PLURAL.search(form) and form.removesuffix("s") in lexicon.nouns:
        return form.removesuffix("s")
    if tag == "NNS" or (tag == "NN" and lemma != form):
        return lemma
    if form in lexicon.nouns:
        return form
    if form in lexicon.plurals:
        return lexicon.plurals[form]
    for ending, singular in (("ies", "y"), ("es", ""), ("s", "")):
        stem = form.removesuffix(ending) + singular
        if form.endswith(ending) and stem in lexicon.nouns:
            return stem
    return form


def quality(form: str, lemma: str, tag: str, lexicon: Lexicon) -> str:
    """The attribute that a describing word gives. As in SPICE a participle becomes its verb (parked -> park) and an
    adjective stays as it stands; an adjective made like a participle (striped) is one whatever the tagger says."""
    if form in MADE_FROM_NOUNS or form in PURPOSES or not form.endswith(("ed", "ing")):
        return form if form in MADE_FROM_NOUNS or form in PURPOSES or form in lexicon.adjectives else lemma
    if tag.startswith("NN") or (tag.startswith("JJ") and form in lexicon.adjectives):
        return form
    stem = form.removesuffix("ed").removesuffix("ing")
    guess = next((v for v in (lemma, stem, stem + "e") if v in lexicon.verbs), lemma)
    return verb_lemma(form, guess, lexicon.verbs)


def lemma_of(token: Token, lexicon: Lexicon, as_noun: bool) -> str:
    """Lower case. Adjectives and numerals stay as they stand (bigger, two), as in SPICE."""
    form, lemma = token.lower_, token.lemma_.lower()
    if as_noun or token.tag_.startswith("NN"):
        return noun_lemma(form, lemma, token.tag_, lexicon)
    return verb_lemma(form, lemma, lexicon.verbs) if token.tag_.startswith("VB") else form
