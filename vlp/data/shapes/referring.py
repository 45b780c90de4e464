"""Expressions that fit exactly one object of the scene: 'the striped star', 'the circle above the red object'."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from vlp.config.data import Shapes
from vlp.data.shapes.language import describe, phrase, unique
from vlp.data.shapes.questions import only
from vlp.data.shapes.scene import Scene
from vlp.data.shapes.vocabulary import KINDS, RELATION_WORDS, RELATIONS, Vocabulary

_OBJECTS, _SENTENCES = 3, 2


def expressions(scene: Scene, dials: Shapes) -> dict[int, list[str]]:
    """Object index -> one or two expressions, for up to three objects; an object that none fits is left out."""
    rng = np.random.default_rng([dials.seed, 9, scene.index, scene.attempt])
    found: dict[int, list[str]] = {}
    for i in map(int, rng.permutation(len(scene.things))):
        said = [*_by_attributes(scene, i, dials, rng), *_by_relation(scene, i, rng)]
        if said and len(found) < _OBJECTS:
            found[i] = [said[int(n)] for n in rng.permutation(len(said))[:_SENTENCES]]
    return dict(sorted(found.items()))


def _by_attributes(scene: Scene, i: int, dials: Shapes, rng: np.random.Generator) -> list[str]:
    """One with as few attributes as possible, and one with one more."""
    values = Vocabulary.of(dials).values
    kinds = [k for k in KINDS if len(values[k]) > 1]
    said: list[str] = []
    for length in range(1, len(kinds) + 1):
        fits = unique(scene, i, list(combinations(kinds, length)))
        if fits:
            said.append(f"the {phrase(fits[int(rng.integers(len(fits)))])}")
        if len(said) == 2:
            break
    return said


def _by_relation(scene: Scene, i: int, rng: np.random.Generator) -> list[str]:
    """'the A R the B', where B is one of its shape or colour, and only object `i` among the As stands so to it."""
    options: list[str] = []
    for b in range(len(scene.things)):
        for target in unique(scene, b, (("shape",), ("colour",))):
            for kind in ("shape", "colour"):
                description = describe(scene.things[i], (kind,))
                rivals = scene.matching(description)
                if b == i or b in rivals:
                    continue
                options += [
                    f"the {phrase(description)} {RELATION_WORDS[r]} the {phrase(target)}"
                    for r in RELATIONS
                    if only(scene, r, b, rivals) == i
                ]
    return [options[int(rng.integers(len(options)))]] if options else []
