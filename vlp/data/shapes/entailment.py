"""Hypotheses about a scene: entailment, neutral, contradiction; the class depends on the image, not on the words.

A hypothesis says something of 'the' so-and-so: "the red object is striped", "the circle is above the star". Objects
that the description fits are its possible referents; there is always at least one. Where the statement is true of all
of them it is entailed, where it is true of none it is contradicted; where it is true of some and false of others the
image does not settle it: neutral. Relations count only where they clearly hold or clearly do not. `balance.select`
takes each hypothesis text equally often with each label within a split, so that the text alone tells nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vlp.config.data import Shapes
from vlp.config.tasks.entailment import LABELS
from vlp.data.shapes.balance import Candidate, select
from vlp.data.shapes.language import describe, phrase, unique
from vlp.data.shapes.scene import Scene
from vlp.data.shapes.vocabulary import RELATION_WORDS, RELATIONS, Vocabulary, article

SHARES = {"attribute": 0.7, "relation": 0.3}
_SUBJECTS = (
    ("shape",),
    ("colour",),
    ("size",),
    ("texture",),
    ("size", "shape"),
    ("texture", "shape"),
    ("size", "colour"),
    ("texture", "colour"),
)
_FALSE = 2
"""So many values that no object described has are tried, before choosing."""


def choose(scenes: Sequence[Scene], dials: Shapes, split: int) -> list[Candidate]:
    """Balanced hypotheses of one split's scenes, up to `hypotheses_per_image` of each."""
    rng = np.random.default_rng([dials.seed, 7, split])
    room = len(scenes) * dials.hypotheses_per_image
    targets = {t: round(share * room) for t, share in SHARES.items()}
    pool = (c for scene in scenes for c in candidates(scene, dials))
    return select(pool, targets, dials.hypotheses_per_image, lambda _: len(LABELS), "attribute", rng)


def candidates(scene: Scene, dials: Shapes) -> Iterator[Candidate]:
    """What can be said of a scene, with its label."""
    rng = np.random.default_rng([dials.seed, 8, scene.index, scene.attempt])
    values = Vocabulary.of(dials).values
    kinds = [k for k, v in values.items() if len(v) > 1]
    targets = [(i, d) for i in range(len(scene.things)) for d in unique(scene, i, (("shape",), ("colour",)))]
    for subject in _subjects(scene, kinds):
        referents, name = scene.matching(subject), phrase(subject)
        for kind in kinds:
            if kind in subject:
                continue
            true = [scene.things[i].value(kind) for i in referents]
            false = [v for v in values[kind] if v not in true]
            tried = [false[int(n)] for n in rng.permutation(len(false))[:_FALSE]]
            for value in (*sorted(set(true)), *tried):
                said = f"{article(value)} {value}" if kind == "shape" else value
                label = _label([v == value for v in true])
                yield Candidate(scene.index, f"the {name} is {said}", label, "attribute")
        for target, d in targets:
            if len(subject) > 1 or target in referents:
                continue
            for relation in RELATIONS:
                truths = [scene.holds(relation, i, target) for i in referents]
                if None not in truths:
                    text = f"the {name} is {RELATION_WORDS[relation]} the {phrase(d)}"
                    yield Candidate(scene.index, text, _label([bool(t) for t in truths]), "relation")


def _subjects(scene: Scene, kinds: Sequence[str]) -> list[dict[str, str]]:
    """Every description of an object of the scene by one or two attributes, once."""
    found: dict[str, dict[str, str]] = {}
    for thing in scene.things:
        for choice in _SUBJECTS:
            if all(k in kinds for k in choice):
                d = describe(thing, choice)
                found.setdefault(phrase(d), d)
    return list(found.values())


def _label(truths: list[bool]) -> str:
    return "entailment" if all(truths) else "neutral" if any(truths) else "contradiction"
