"""A parsed text as the rules see it: which words are things, what pronouns and quantities stand for, who does what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vlp.phrases import words
from vlp.phrases.graph import Span, Thing

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

_ARGUMENTS = frozenset(("nsubj", "nsubjpass", "dobj", "pobj", "attr", "dative", "ROOT", "conj", "appos", "oprd"))
_SUBJECTS = frozenset(("nsubj", "nsubjpass"))


@dataclass(frozen=True)
class Complement:
    """What follows a head: a preposition's name ("" for a direct object), its words, and the things it leads to."""

    name: str
    words: tuple[Token, ...]
    things: tuple[Token, ...]


class Sentence:
    """Args:
    doc: with tags, dependencies (CLEAR labels) and lemmas.
    lexicon: known words.
    """

    def __init__(self, doc: Doc, lexicon: words.Lexicon) -> None:
        self.doc, self._lexicon = doc, lexicon
        self._children = [list(t.children) for t in doc]
        self._is_noun = [self._noun(t) for t in doc]

    # words

    def children(self, token: Token, *labels: str) -> list[Token]:
        return [c for c in self._children[token.i] if c.dep_ in labels]

    def is_noun(self, token: Token) -> bool:
        return self._is_noun[token.i]

    def lemma(self, token: Token) -> str:
        return words.lemma_of(token, self._lexicon, self._is_noun[token.i])

    def quality(self, token: Token) -> str:
        """The lemma of a word that describes."""
        return words.quality(token.lower_, self.lemma(token), token.tag_, self._lexicon)

    def is_adjective(self, token: Token) -> bool:
        return token.lower_ in self._lexicon.adjectives

    def noun_quality(self, token: Token) -> str:
        """The lemma of a noun that describes another: `parking` of `parking lot`, whatever its tag."""
        plain = token.tag_ if token.tag_.startswith("NN") else "NN"
        lemma = token.lemma_.lower() if token.tag_.startswith("NN") else token.lower_
        return words.noun_lemma(token.lower_, lemma, plain, self._lexicon)

    def only_adjective(self, token: Token) -> bool:
        return token.lower_ in self._lexicon.adjectives and token.lower_ not in self._lexicon.adverbs

    def thing(self, token: Token) -> Thing:
        return Thing(span(token), self.lemma(token))

    def things(self) -> list[Token]:
        """Nouns that name an object: no compound's first word, no quantity, no part of a relation's name."""
        place = {t.i for head in self.doc for c in self._prepositional(head) for t in c.words}
        return [
            t
            for t in self.doc
            if self.is_noun(t)
            and t.dep_ not in ("compound", "nmod", "amod")
            and t.i not in place
            and not self.counted(t)
        ]

    def _noun(self, token: Token) -> bool:
        if token.lower_ in words.NO_THINGS:
            return False
        if token.tag_.startswith("NN"):
            return words.says_something(token.lower_) and not token.lower_.isdigit()
        article = any(c.dep_ == "det" and c.i < token.i for c in token.children)
        if not token.is_alpha or not (token.dep_ in _ARGUMENTS or (token.dep_ == "acomp" and article)):
            return False
        # The tagger takes `a star`, `the cross` for a verb or an adjective now and then; the article tells.
        described = any(c.dep_ in ("det", "amod", "nummod", "poss") and c.i < token.i for c in token.children)
        if token.tag_.startswith(("VB", "JJ")):
            colour = token.dep_ == "pobj" and token.tag_ == "JJ"
            return described or colour
        return False

    # what a word stands for

    def counted(self, token: Token) -> Token | None:
        """The noun that a quantity counts: `people` for `lot` in `a lot of people`."""
        form = token.lower_
        if form not in words.A_QUANTITIES and form not in words.QUANTITIES and form not in words.PARTITIVES:
            return None
        articles = {c.lower_ for c in self.children(token, "det")}
        if form in words.A_QUANTITIES and not articles <= {"a", "an"}:
            return None
        for of in self.children(token, "prep"):
            if of.lower_ == "of" and of.i == token.i + 1:
                return next((p for p in self.children(of, "pobj") if self.is_noun(p)), None)
        return None

    def meant(self, token: Token) -> Token | None:
        """The noun that a word in an argument's place stands for, or None."""
        counted = self.counted(token)
        if counted is not None:
            return self.meant(counted)
        if token.tag_ in ("WDT", "WP") and token.lower_ in words.RELATIVE_PRONOUNS:
            return self._relative(token)
        if self.is_noun(token):
            return token
        return self._antecedent(token) if token.tag_ in ("PRP", "PRP$") else None

    def all_meant(self, token: Token) -> list[Token]:
        """`meant`, and that of every conjunct: both nouns of `a hat and a shirt`."""
        first = self.meant(token)
        found = [first] if first is not None else []
        joined = self.children(token, "conj")
        # The parser joins the members of a list as appositions: `a ring, a star and a cross`.
        joined += [a for a in self.children(token, "appos") if self.children(a, "conj")]
        for other in joined:
            found += [t for t in self.all_meant(other) if t not in found]
        return found

    def _relative(self, pronoun: Token) -> Token | None:
        for ancestor in pronoun.ancestors:
            if ancestor.dep_ == "relcl":
                return self.meant(ancestor.head)
        return None

    def _antecedent(self, pronoun: Token) -> Token | None:
        """The nearest earlier noun that agrees with the pronoun, subjects before others; else the first of those.

        As SPICE's search from the root does, the second step asks for no agreement: `a person on their bike`.
        """
        form = pronoun.lower_
        earlier = [t for t in self.doc[: pronoun.i] if self.is_noun(t) and t.dep_ not in ("compound", "nmod")]
        if form in words.HE_OR_SHE:
            fit = [t for t in earlier if t.tag_ in ("NN", "NNP") and words.is_person(self.lemma(t))]
        elif form in words.IT:
            fit = [t for t in earlier if t.tag_ in ("NN", "NNP") and not words.is_person(self.lemma(t))]
        elif form in words.THEY:
            fit = [t for t in earlier if t.tag_ in ("NNS", "NNPS") or self.children(t, "conj")]
        else:
            return None
        fit = [t for t in fit if not self.counted(t)]
        heads = [t for t in fit if t.dep_ in _SUBJECTS or t.dep_ == "ROOT" or t.head.lemma_ == "be"]
        if fit:
            return (heads or fit)[-1]
        return next((t for t in earlier if (t.dep_ in _SUBJECTS or t.dep_ == "ROOT") and not self.counted(t)), None)

    # clauses

    def predicates(self) -> Iterator[Token]:
        """Full verbs and copulas; no auxiliaries, no participles used as adjectives."""
        for t in self.doc:
            verb = t.tag_.startswith("VB") and not self.is_noun(t)
            if verb and t.dep_ not in ("aux", "auxpass", "amod", "compound", "nmod", "prep", "det"):
                yield t

    def is_side(self, token: Token) -> bool:
        """`left` of `a ring left of a star`, which the tagger takes for `leave`."""
        verb = token.tag_.startswith("VB") and token.lower_ in words.SIDES
        return verb and any(p.lower_ == "of" for p in self.children(token, "prep"))

    def is_copula(self, verb: Token) -> bool:
        return verb.lemma_ == "be"

    def predicate(self, verb: Token) -> tuple[str, tuple[Token, ...]]:
        """Verb lemma with its particle: `pick up`."""
        if self.is_side(verb):
            return "", ()
        particles = self.children(verb, "prt")
        name = " ".join([self.lemma(verb), *(p.lower_ for p in particles)])
        return name, (verb, *particles)

    def subjects(self, verb: Token, seen: frozenset[int] = frozenset()) -> list[Token]:
        """Who does it: its subject, the noun that a participle or relative clause describes, or that of the verb that
        it is joined to. As in SPICE other clauses inherit none: who tries to catch a ball has not caught it.
        """
        if verb.i in seen:
            return []
        own = self.children(verb, "nsubj", "nsubjpass")
        # Without an article the parser takes `man` of `man holding a stick` for an adverbial.
        own = own or [t for t in self.children(verb, "npadvmod") if t.i == verb.i - 1 and verb.tag_ == "VBG"]
        if own:
            return [t for s in own for t in self.all_meant(s)]
        if self.is_copula(verb):
            # `there is a ring`, `is a ring above the star?`: what is there, or asked about, is the subject.
            shown = [t for a in self.children(verb, "attr") for t in self.all_meant(a)]
            if shown:
                return shown
        if any(c.tag_ == "TO" for c in self.children(verb, "aux")):
            return []
        if verb.dep_ in ("acl", "relcl") and (described := self.meant(verb.head)) is not None:
            return [described]
        if (verb.dep_ == "conj" or self.is_side(verb)) and not self.is_noun(verb.head):
            return self.subjects(verb.head, seen | {verb.i})
        return []

    def is_passive(self, verb: Token) -> bool:
        return bool(self.children(verb, "nsubjpass", "auxpass"))

    def is_state(self, verb: Token) -> bool:
        """`is striped`: a participle that `be` ascribes to its subject."""
        ascribed = any(c.lemma_ == "be" for c in self.children(verb, "aux", "auxpass")) or self.is_copula(verb.head)
        return verb.tag_ in ("VBN", "VBD") and ascribed

    def objects(self, verb: Token) -> Iterator[Complement]:
        """Direct objects, and the object that a relative clause takes from outside (`the horse he rides`)."""
        direct = self.children(verb, "dobj", "dative")
        for t in direct:
            if found := self.all_meant(t):
                yield Complement("", (), tuple(found))
        head = self.meant(verb.head) if verb.dep_ == "relcl" else None
        outside = head is not None and self.children(verb, "nsubj") and head not in self.subjects(verb)
        if head is not None and outside and not direct and not self.is_copula(verb):
            stranded = [p for p in self.children(verb, "prep") if not self._children[p.i]]
            if stranded:
                yield Complement(stranded[0].lower_, (stranded[0],), (head,))
            elif not self.children(verb, "prep", "acomp", "xcomp", "ccomp"):
                yield Complement("", (), (head,))

    # prepositions

    def prepositional(self, head: Token) -> list[Complement]:
        """What stands behind the prepositions of `head`, each with its whole name: `on top of`, `next to`."""
        return self._prepositional(head)

    def _prepositional(self, head: Token) -> list[Complement]:
        found: list[Complement] = []
        side = (head,) if self.is_side(head) else ()
        for child in self._children[head.i]:
            if side and child.lower_ == "of":
                found += self._behind(child, side)
            elif child.dep_ in ("prep", "agent") or (child.dep_ == "dative" and child.tag_ in ("IN", "TO")):
                found += self._behind(child, ())
            elif child.dep_ in ("advmod", "acomp", "oprd", "amod", "prt", "acl") and child.i > head.i - (
                head.tag_ == "MD"
            ):
                for prep in self.children(child, "prep"):
                    joined = (child.lower_, prep.lower_) in words.JOINED_PREPOSITIONS
                    if joined or child.dep_ == "advmod":
                        # A particle is part of the verb's name already.
                        found += self._behind(prep, (child,) if joined and child.dep_ != "prt" else ())
        return found

    def _behind(self, prep: Token, before: tuple[Token, ...]) -> list[Complement]:
        name = (*before, prep)
        found: list[Complement] = []
        if prep.lower_ in words.CLAUSE_OPENERS:
            return found
        for child in self._children[prep.i]:
            if child.dep_ == "pobj":
                place = self.place(child)
                if place is not None:
                    of, between = place
                    found += self._behind(of, (*name, *between))
                elif things := self.all_meant(child):
                    found.append(Complement(" ".join(t.lower_ for t in name), name, tuple(things)))
            elif child.dep_ == "prep":
                joined = (prep.lower_, child.lower_) in words.JOINED_PREPOSITIONS
                found += self._behind(child, name if joined else before)
            elif child.dep_ == "conj" and child.tag_ == "IN":
                found += self._behind(child, before)
        return found

    def place(self, noun: Token) -> tuple[Token, tuple[Token, ...]] | None:
        """`top` of `on top of X`, `left` of `to the left of X`: the `of`, and the words up to it."""
        of = next((p for p in self.children(noun, "prep") if p.lower_ == "of" and p.i == noun.i + 1), None)
        if of is None:
            return None
        before = [c for c in self._children[noun.i] if c.i < noun.i]
        side = noun.lower_ in words.SIDES or (
            noun.lower_ == "side" and any(c.lower_ in words.SIDES for c in before if c.dep_ in ("amod", "compound"))
        )
        bare = noun.lower_ in words.BARE_PLACE_NOUNS and not before
        return (of, (*before, noun)) if bare or side else None


def span(token: Token) -> Span:
    return token.idx, token.idx + len(token.text)
