"""Questions with ten annotators' answers. `balance.select` chooses among them; see there for what makes it fair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vlp.config.data import Shapes
from vlp.data.shapes.balance import Candidate, select
from vlp.data.shapes.language import phrase, unique
from vlp.data.shapes.scene import Scene
from vlp.data.shapes.vocabulary import RELATION_WORDS, RELATIONS, Vocabulary, article, plural

SHARES = {
    "exist_colour": 0.12,
    "exist_texture": 0.07,
    "exist_size": 0.04,
    "attribute": 0.10,
    "relation": 0.13,
    "two": 0.03,
    "more": 0.03,
    "count": 0.16,
    "count_all": 0.01,
    "colour_of": 0.10,
    "colour_beyond": 0.03,
    "shape_of": 0.09,
    "shape_beyond": 0.05,
    "pattern_of": 0.03,
    "size_of": 0.01,
}
"""Wanted share of each template; what the scenes cannot give goes to the first."""
NUMBER = ("count", "count_all")
OTHER = ("colour_of", "colour_beyond", "shape_of", "shape_beyond", "pattern_of", "size_of")
PREFIXES = (
    "is there a",
    "is the",
    "are there two",
    "are there more",
    "how many",
    "what color is the",
    "what shape is the",
    "what pattern does the",
    "what size is the",
    "what is",
)
"""`question_type` in VQA's sense: how the question begins."""

_ABSENT = 12
"""So many absent things are asked for in an image, before choosing."""
_DISSENT = {"yes/no": (0.85, 0.15), "number": (0.6, 0.25, 0.15), "other": (0.55, 0.25, 0.13, 0.07)}
"""Probability that 0, 1, ... of the ten annotators answer something else."""
_ALIKE: dict[str, tuple[str, ...]] = {
    "red": ("maroon",),
    "green": ("dark green",),
    "blue": ("navy",),
    "yellow": ("gold",),
    "purple": ("violet",),
    "pink": ("rose",),
    "white": ("gray",),
    "black": ("gray",),
    "circle": ("disc", "ball"),
    "square": ("block", "rectangle"),
    "triangle": ("wedge",),
    "star": ("asterisk",),
    "cross": ("plus",),
    "ring": ("hoop", "circle"),
    "heart": ("love",),
    "diamond": ("rhombus", "square"),
    "moon": ("crescent",),
    "arrow": ("pointer",),
    "pentagon": ("hexagon",),
    "hexagon": ("pentagon",),
    "solid": ("none", "plain"),
    "striped": ("stripes", "lines"),
    "dotted": ("dots", "spotted"),
    "small": ("little",),
    "large": ("big",),
}


def choose(scenes: Sequence[Scene], dials: Shapes, split: int) -> list[Candidate]:
    """Balanced questions of one split's scenes; `image` is the scene's index. Up to `questions_per_image` of each."""
    rng = np.random.default_rng([dials.seed, 4, split])
    values = Vocabulary.of(dials).values
    sizes = {"colour": len(values["colour"]), "shape": len(values["shape"]), "pattern": len(values["texture"])}

    def least(template: str) -> int:
        return min(4, sizes.get(template.split("_")[0], 4)) if template in OTHER[:5] else 3 if template in NUMBER else 2

    room = len(scenes) * dials.questions_per_image
    targets = {t: round(share * room) for t, share in SHARES.items()}
    pool = (c for scene in scenes for c in candidates(scene, dials))
    return select(pool, targets, dials.questions_per_image, least, next(iter(SHARES)), rng)


def candidates(scene: Scene, dials: Shapes) -> Iterator[Candidate]:
    """What can be asked of a scene, with its true answer."""
    asker = _Asker(scene, dials)
    for template, text, answer in (*asker.yes_no(), *asker.numbers(), *asker.others()):
        type_ = "number" if template in NUMBER else "other" if template in OTHER else "yes/no"
        yield Candidate(scene.index, text, answer, template, type_)


def answers(candidate: Candidate, seed: int, number: int) -> list[str]:
    """Ten annotators: most give the true answer, the others a plausible one (the next count, a similar colour)."""
    rng = np.random.default_rng([seed, 5, candidate.image, number])
    odds = _DISSENT[candidate.type]
    given = [candidate.answer] * 10
    for place in rng.permutation(10)[: int(rng.choice(len(odds), p=odds))]:
        given[int(place)] = _other(candidate, rng)
    return given


def prefix(question: str) -> str:
    return next(p for p in PREFIXES if question.startswith(p))


def _other(candidate: Candidate, rng: np.random.Generator) -> str:
    if candidate.type == "yes/no":
        return "no" if candidate.answer == "yes" else "yes"
    if candidate.type == "number":
        step = int(rng.choice((-1, 1)))
        return str(abs(int(candidate.answer) + step))  # beside 0 there is only 1
    alike = _ALIKE[candidate.answer]
    return alike[int(rng.integers(len(alike)))]


class _Asker:
    """Gives (template, text, answer)."""

    def __init__(self, scene: Scene, dials: Shapes) -> None:
        self.scene = scene
        self.values = Vocabulary.of(dials).values
        self.kinds = [k for k in ("colour", "texture", "size") if len(self.values[k]) > 1]
        self.rng = np.random.default_rng([dials.seed, 6, scene.index, scene.attempt])
        # Objects that their shape or their colour alone tells apart.
        self.named = [(i, d) for i in range(len(scene.things)) for d in unique(scene, i, (("shape",), ("colour",)))]

    def yes_no(self) -> Iterator[tuple[str, str, str]]:
        for kind in self.kinds:
            yield from self._exist(kind)
        yield from self._attribute()
        for a, first in self.named:
            for b, second in self.named:
                if a == b or first.keys() != second.keys():
                    continue
                for relation in RELATIONS:
                    truth = self.scene.holds(relation, a, b)
                    if truth is not None:
                        text = f"is the {phrase(first)} {RELATION_WORDS[relation]} the {phrase(second)}?"
                        yield "relation", text, _yes(truth)
        yield from self._compare()

    def numbers(self) -> Iterator[tuple[str, str, str]]:
        yield "count_all", "how many objects are there?", str(len(self.scene.things))
        for kind in ("shape", *self.kinds):
            for value in self.values[kind]:
                count = len(self.scene.matching({kind: value}))
                yield "count", f"how many {_plural({kind: value})} are there?", str(count)

    def others(self) -> Iterator[tuple[str, str, str]]:
        for i, thing in enumerate(self.scene.things):
            if len(self.values["colour"]) > 1:
                for d in unique(self.scene, i, (("shape",), ("size", "shape"), ("texture", "shape"))):
                    yield "colour_of", f"what color is the {phrase(d)}?", thing.colour
            for d in unique(self.scene, i, (("colour",), ("size", "colour"), ("texture", "colour"))):
                yield "shape_of", f"what shape is the {phrase(d)}?", thing.shape
        for i, d in self.named:
            thing = self.scene.things[i]
            if "texture" in self.kinds:
                yield "pattern_of", f"what pattern does the {phrase(d)} have?", thing.texture
            yield "size_of", f"what size is the {phrase(d)}?", thing.size
            for relation in RELATIONS:
                there = only(self.scene, relation, i)
                if there is not None:
                    other = self.scene.things[there]
                    words = RELATION_WORDS[relation]
                    yield "shape_beyond", f"what is {words} the {phrase(d)}?", other.shape
                    if len(self.values["colour"]) > 1:
                        yield "colour_beyond", f"what color is the object {words} the {phrase(d)}?", other.colour

    def _exist(self, kind: str) -> Iterator[tuple[str, str, str]]:
        present = sorted({(t.value(kind), t.shape) for t in self.scene.things})
        values, shapes = self.values[kind], self.values["shape"]
        drawn = {
            (values[int(self.rng.integers(len(values)))], shapes[int(self.rng.integers(len(shapes)))])
            for _ in range(_ABSENT)
        }
        for value, shape in (*present, *sorted(drawn - set(present))):
            text = f"is there {article(value)} {value} {shape}?"
            yield f"exist_{kind}", text, _yes((value, shape) in present)

    def _attribute(self) -> Iterator[tuple[str, str, str]]:
        for i, d in self.named:
            for kind in ("shape", *self.kinds):
                if kind in d:
                    continue
                true = self.scene.things[i].value(kind)
                false = [v for v in self.values[kind] if v != true]
                for value in (true, *(false[int(n)] for n in self.rng.permutation(len(false))[:2])):
                    said = f"{article(value)} {value}" if kind == "shape" else value
                    yield "attribute", f"is the {phrase(d)} {said}?", _yes(value == true)

    def _compare(self) -> Iterator[tuple[str, str, str]]:
        for kind in ("shape", *self.kinds):
            counts = {v: len(self.scene.matching({kind: v})) for v in self.values[kind]}
            for value, count in counts.items():
                if count < 3:  # of three one may say that there are two
                    yield "two", f"are there two {_plural({kind: value})}?", _yes(count == 2)
                for other, fewer in counts.items():
                    if count > fewer:
                        first, second = _plural({kind: value}), _plural({kind: other})
                        yield "more", f"are there more {first} than {second}?", "yes"
                        yield "more", f"are there more {second} than {first}?", "no"


def only(scene: Scene, relation: str, b: int, among: Sequence[int] | None = None) -> int | None:
    """The one object (of `among`) that stands in `relation` to object `b`, if it is clear that no other does."""
    others = [a for a in (range(len(scene.things)) if among is None else among) if a != b]
    truth = {a: scene.holds(relation, a, b) for a in others}
    clear = [a for a, t in truth.items() if t]
    return clear[0] if len(clear) == 1 and sum(t is False for t in truth.values()) == len(others) - 1 else None


def _plural(description: dict[str, str]) -> str:
    *adjectives, noun = phrase(description).split()
    return " ".join([*adjectives, plural(noun)])


def _yes(truth: bool) -> str:
    return "yes" if truth else "no"
