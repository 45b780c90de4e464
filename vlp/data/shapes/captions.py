"""The caption grammar: sentences that are true of the scene, with the spans of what they mention."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from vlp.config.data import Shapes
from vlp.data.shapes.language import Claim, Text, many, one
from vlp.data.shapes.scene import Scene
from vlp.data.shapes.vocabulary import KINDS, Vocabulary, article, pick, word

_TRIES = 12
_ENOUGH = 11.0
"""Bits that a caption should tell, so that it is true of few other scenes; the best of some tries is kept."""
_RELATION_BITS, _COUNT_BITS = 2.0, 2.0
_BACKGROUND = 0.12
_FORMS = {"relation": 0.5, "chain": 0.16, "two": 0.14, "joint": 0.08, "plural": 0.12}

Fact = tuple[int, str, int]


def captions(scene: Scene, dials: Shapes) -> list[Text]:
    """`captions_per_image` different captions of a scene (equal ones only where the scene allows no more)."""
    rng = np.random.default_rng([dials.seed, 3, scene.index, scene.attempt])
    facts = _facts(scene)
    texts: list[Text] = []
    for _ in range(dials.captions_per_image):
        best, most = Text(), -1.0
        for _ in range(_TRIES):
            text = _Speaker(scene, dials, facts, rng).speak()
            told = bits(text, dials)
            if told > most and (not best.text or text.text not in {t.text for t in texts}):
                best, most = text, told
            if most >= _ENOUGH:
                break
        texts.append(best)
    return texts


def bits(text: Text, dials: Shapes) -> float:
    """How much a caption tells of its image, were all attributes independent and uniform."""
    vocabulary = Vocabulary.of(dials)
    words = [w for m in text.mentions for w in m.words]
    named = sum(_COUNT_BITS if w.kind == "count" else vocabulary.bits(w.kind) for w in words if w.kind != "tone")
    return named + _RELATION_BITS * len(text.claims)


def _facts(scene: Scene) -> dict[str, list[Fact]]:
    facts: dict[str, list[Fact]] = {}
    for fact in scene.relations():
        facts.setdefault(fact[1], []).append(fact)
    return facts


class _Speaker:
    """Makes one caption."""

    def __init__(self, scene: Scene, dials: Shapes, facts: dict[str, list[Fact]], rng: np.random.Generator) -> None:
        self.scene, self.dials, self.facts, self.rng = scene, dials, facts, rng
        self.text = Text()
        self.said: dict[int, list] = {}
        values = Vocabulary.of(dials).values
        self.kinds = [k for k in KINDS[:-1] if len(values[k]) > 1]

    def speak(self) -> Text:
        forms = list(_FORMS)
        form = str(self.rng.choice(forms, p=list(_FORMS.values())))
        # A form that the scene has no facts for gives way to a simpler one; a list of objects is always possible.
        done = (form != "relation" and getattr(self, f"_{form}")()) or self._relation()
        if not done:
            self._list()
        if self.rng.random() < _BACKGROUND:
            self.text.say("on")
            tone = self.scene.tone
            self.text.mention([("a", "", ""), (tone, "tone", tone), ("background", "", "")], (), "scene")
        return self.text

    def _relation(self) -> bool:
        """A is above B; there is A above B; a picture of A above B; A contains B."""
        fact = self._draw(lambda f: True)
        if fact is None:
            return False
        a, relation, b = fact
        if relation == "inside" and self.rng.random() < 0.4:
            container = self._one(b)
            start, end = self.text.say(pick(("contains", "surrounds"), self.rng))
            self._one(a)
            self.text.claims.append(Claim("inside", container + 1, container, start, end))
            return True
        style = pick(("copula", "verb", "opening", "picture"), self.rng)
        if style == "opening":
            self.text.say(pick(("there is", "you can see", "we see"), self.rng))
        elif style == "picture":
            self._picture()
        subject = self._one(a)
        self._relate(relation, subject, {"copula": "is", "verb": self._verb(relation)}.get(style, ""))
        self._one(b)
        return True

    def _chain(self) -> bool:
        """A is above B and next to C; A above B is next to C."""
        first = self._draw(lambda f: True)
        if first is None:
            return False
        a, _, b = first
        second = self._draw(lambda f: f[0] == a and f[2] != b)
        if second is None:
            return False
        subject = self._one(a)
        nested = self.rng.random() < 0.5
        self._relate(first[1], subject, "" if nested else self._be(first[1]))
        self._one(b)
        self._relate(second[1], subject, "is" if nested else "and")
        self._one(second[2])
        return True

    def _two(self) -> bool:
        """A is above B while C is next to D; a new pair, or one that shares an object with the first."""
        first = self._draw(lambda f: True)
        if first is None:
            return False
        pair = {first[0], first[2]}
        second = self._draw(lambda f: not pair & {f[0], f[2]}) or self._draw(lambda f: {f[0], f[2]} != pair)
        if second is None:
            return False
        for fact, joint in ((first, ""), (second, pick(("while", ", and"), self.rng))):
            if joint:
                self.text.say(joint)
            subject = self._one(fact[0])
            self._relate(fact[1], subject, self._be(fact[1]))
            self._one(fact[2])
        return True

    def _joint(self) -> bool:
        """A and B are above C."""
        first = self._draw(lambda f: f[1] != "inside")
        if first is None:
            return False
        second = self._draw(lambda f: f[0] != first[0] and f[1:] == first[1:])
        if second is None:
            return False
        one_ = self._one(first[0])
        self.text.say("and")
        other = self._one(second[0])
        start, end = self._relate(first[1], one_, "are")
        target = self._one(first[2])
        self.text.claims[-1] = Claim(first[1], one_, target, start, end)
        self.text.claims.append(Claim(first[1], other, target, start, end))
        return True

    def _plural(self) -> bool:
        """Two red circles are above B; there are two red circles and B."""
        counts = Counter(t.shape for t in self.scene.things)
        shapes = sorted(s for s, n in counts.items() if n > 1)
        if not shapes:
            return False
        shape = pick(shapes, self.rng)
        pattern = self.scene.things[pick(self.scene.matching({"shape": shape}), self.rng)]
        description = {"shape": shape}
        for kind in self.kinds:
            wider = description | {kind: pattern.value(kind)}
            if len(self.scene.matching(wider)) >= 2 and self.rng.random() < self.dials.mention:
                description = wider
        group = self.scene.matching(description)
        if len(group) > 4:
            return False
        others = [i for i in range(len(self.scene.things)) if i not in group]
        shared = [
            (r, b)
            for r, facts in self.facts.items()
            if r != "inside"
            for b in others
            if all((a, r, b) in facts for a in group)
        ]
        style = pick(("copula", "opening", "picture"), self.rng)
        if style == "picture":
            self._picture()
        elif style == "opening":
            self.text.say(pick(("there are", "you can see"), self.rng))
        subject = self.text.mention(many(description, len(group), self.dials.synonyms, self.rng), group)
        if shared:
            relation, b = pick(shared, self.rng)
            self._relate(relation, subject, "are" if style == "copula" else "")
            self._one(b)
        elif others:
            self.text.say("and")
            self._one(pick(others, self.rng))
            if style == "copula":
                self.text.say("are")
                self.text.say("in")
                self.text.mention([("the", "", ""), ("picture", "", "")], (), "notvisual")
        elif style == "copula":
            self.text = Text()  # nothing to say of the group: another form is tried
            return False
        return True

    def _list(self) -> None:
        """There is A; a picture of A and B."""
        chosen = self.rng.permutation(len(self.scene.things))[:3]
        if self.rng.random() < 0.5:
            self.text.say("there is")
        else:
            self._picture()
        for n, i in enumerate(chosen):
            if n:
                self.text.say("and")
            self._one(int(i))

    def _draw(self, wanted) -> Fact | None:
        """A fact that is wanted: first the relation is drawn, then the objects, so that rare relations are heard."""
        kinds = [[f for f in facts if wanted(f)] for facts in self.facts.values()]
        kinds = [facts for facts in kinds if facts]
        return pick(pick(kinds, self.rng), self.rng) if kinds else None

    def _one(self, i: int) -> int:
        """Mention object `i`: 'a red circle', and 'the red circle' when it comes again."""
        if i in self.said:
            words = [("the", "", ""), *self.said[i][1:]]
        else:
            words = one(self.scene.things[i], self.dials.mention, self.dials.synonyms, self.rng, self.kinds)
        self.said[i] = words
        return self.text.mention(words, (i,))

    def _picture(self) -> None:
        noun = pick(("picture", "image", "drawing"), self.rng)
        self.text.mention([(article(noun), "", ""), (noun, "", "")], (), "notvisual")
        self.text.say("of" if self.rng.random() < 0.7 else "with")

    def _relate(self, relation: str, subject: int, verb: str) -> tuple[int, int]:
        """Append 'is above'; the claim's span is that of the relation's words, without the verb."""
        if verb:
            self.text.say(verb)
        self.text.claim(word(relation, self.rng, self.dials.synonyms), relation, subject)
        return self.text.claims[-1].start, self.text.claims[-1].end

    def _verb(self, relation: str) -> str:
        verbs: Sequence[str] = ("sits", "lies", "stands", "rests", "is placed", "appears")
        return pick((*verbs, "hangs", "floats") if relation == "above" else verbs, self.rng)

    def _be(self, relation: str) -> str:
        return "is" if self.rng.random() < 0.6 else self._verb(relation)
