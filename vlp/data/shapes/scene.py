"""Scenes as symbols: which objects stand where. A scene depends on (seed, index, attempt) only."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from vlp.config.data import Shapes
from vlp.data.shapes.vocabulary import KINDS, RELATIONS, Vocabulary, pick
from vlp.errors import ConfigError

CONTAINERS = ("circle", "square", "ring", "diamond", "pentagon", "hexagon")
PATTERNS = ("flat", "gradient", "radial", "checks", "waves")
QUARTER_TURNS = ("arrow", "moon")
_INSIDE, _BESIDE, _OVERLAP, _SAME_COLOUR, _LARGE = 0.4, 0.3, 0.1, 0.35, 0.45

Box = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels; x2 and y2 are one past the last pixel, so width = x2 - x1."""


@dataclass(frozen=True)
class Thing:
    """One object. `x`, `y`, `radius` in pixels: the shape is drawn within [-radius, radius] of its centre, then
    turned by `angle` degrees. `inside`: index of the object it stands in. `box` is filled by `render.outline`."""

    shape: str
    colour: str
    size: str
    texture: str
    x: float = 0.0
    y: float = 0.0
    radius: float = 0.0
    angle: float = 0.0
    inside: int | None = None
    box: Box = (0, 0, 0, 0)

    def value(self, kind: str) -> str:
        return getattr(self, kind)

    def matches(self, description: Mapping[str, str]) -> bool:
        for kind, value in description.items():  # noqa: SIM110 - called a million times, and twice as fast
            if getattr(self, kind) != value:
                return False
        return True


@dataclass(frozen=True)
class Scene:
    index: int
    attempt: int
    pixels: int
    """Side of the image."""
    things: tuple[Thing, ...]
    tone: str
    """light or dark background."""
    pattern: str

    def matching(self, description: Mapping[str, str]) -> list[int]:
        """Indices of the objects that a description fits."""
        return [i for i, t in enumerate(self.things) if t.matches(description)]

    def key(self) -> tuple[object, ...]:
        """Two scenes of one key are the same scene: the same objects in the same cells of a 4 x 4 grid."""
        cell = self.pixels / 4
        parts = [(*(t.value(k) for k in KINDS), t.inside is not None, t.x // cell, t.y // cell) for t in self.things]
        return tuple(sorted(parts))

    def holds(self, relation: str, a: int, b: int) -> bool | None:
        """Does object `a` stand in `relation` to object `b`? None: too close to call, so nothing is said of it.

        left of: the centre of `a` is at least 15% of the image's side further left, and the way is mostly horizontal;
        false where it is at most 2% further left. right of, above, below alike. next to: the boxes are at most 7% of
        the side apart; false from 22%. An object inside another one has no other relation to it.
        """
        return self._truths[a, relation, b]

    @cached_property
    def _truths(self) -> dict[tuple[int, str, int], bool | None]:
        pairs = [(a, b) for a in range(len(self.things)) for b in range(len(self.things)) if a != b]
        return {(a, r, b): self._holds(r, a, b) for a, b in pairs for r in RELATIONS}

    def _holds(self, relation: str, a: int, b: int) -> bool | None:
        first, second = self.things[a], self.things[b]
        if relation == "inside":
            return first.inside == b
        if first.inside == b or second.inside == a:
            return None
        (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = first.box, second.box
        if relation == "next to":
            gap = math.hypot(max(bx1 - ax2, ax1 - bx2, 0), max(by1 - ay2, ay1 - by2, 0)) / self.pixels
            return True if gap <= 0.07 else False if gap >= 0.22 else None
        dx, dy = (bx1 + bx2 - ax1 - ax2) / 2 / self.pixels, (by1 + by2 - ay1 - ay2) / 2 / self.pixels
        ahead, aside = {"left of": (dx, dy), "right of": (-dx, dy), "above": (dy, dx), "below": (-dy, dx)}[relation]
        if ahead >= 0.15 and ahead >= 1.2 * abs(aside):
            return True
        return False if ahead <= 0.02 else None

    def relations(self) -> list[tuple[int, str, int]]:
        """Every (a, relation, b) that clearly holds."""
        return [fact for fact, truth in self._truths.items() if truth]


def scenes(dials: Shapes) -> Iterator[Scene]:
    """The scenes of train, val, test in this order, without boxes; no key comes twice.

    Raises:
        ConfigError: the dials leave too little room, for the objects or for so many different scenes.
    """
    seen: set[tuple[object, ...]] = set()
    for index in range(dials.train_images + dials.val_images + dials.test_images):
        for attempt in range(1000):
            scene = draw(dials, index, attempt)
            if scene is not None and scene.key() not in seen:
                break
        else:
            raise ConfigError(
                f"data.generator: no new scene for image {index} after 1000 attempts. "
                "Raise shapes, colours, textures or max_objects, or lower min_objects or the number of images."
            )
        seen.add(scene.key())
        yield scene


def draw(dials: Shapes, index: int, attempt: int = 0) -> Scene | None:
    """One scene, or None if its objects found no room."""
    rng = np.random.default_rng([dials.seed, 1, index, attempt])
    things = _attributes(dials, rng)
    placed = None
    for _ in range(4):
        placed = _place(things, dials.image_size, rng)
        if placed is not None:
            break
    tone, pattern = pick(("light", "dark"), rng), pick(PATTERNS, rng)
    return None if placed is None else Scene(index, attempt, dials.image_size, tuple(placed), tone, pattern)


def _attributes(dials: Shapes, rng: np.random.Generator) -> list[Thing]:
    values = Vocabulary.of(dials).values
    things: list[Thing] = []
    for _ in range(int(rng.integers(dials.min_objects, dials.max_objects + 1))):
        shape, colour = pick(values["shape"], rng), pick(values["colour"], rng)
        if things and rng.random() < dials.same_noun:
            twin = pick(things, rng)
            shape, colour = twin.shape, twin.colour if rng.random() < _SAME_COLOUR else colour
        size = "large" if rng.random() < _LARGE else "small"
        things.append(Thing(shape, colour, size, pick(values["texture"], rng)))
    return things


def _place(things: list[Thing], pixels: int, rng: np.random.Generator) -> list[Thing] | None:
    """Large objects first; no two closer than 3/160 of the side, but for 'inside' and, rarely, one slight overlap."""
    unit = pixels / 160
    order = sorted(range(len(things)), key=lambda i: things[i].size == "small")
    placed: dict[int, Thing] = {}
    filled: set[int] = set()
    may_overlap = rng.random() < _OVERLAP
    for i in order:
        thing = things[i]
        turn = 90.0 * int(rng.integers(4)) if thing.shape in QUARTER_TURNS else 0.0
        low, high = (24, 30) if thing.size == "large" else (10.5, 13)
        thing = replace(thing, radius=float(rng.uniform(low, high)) * unit, angle=turn + float(rng.uniform(-8, 8)))
        homes = [
            j
            for j, t in placed.items()
            if t.size == "large" and t.shape in CONTAINERS and t.colour != thing.colour and j not in filled
        ]
        if thing.size == "small" and homes and rng.random() < _INSIDE:
            home = pick(homes, rng)
            at = placed[home]
            x, y = at.x + rng.uniform(-1.5, 1.5) * unit, at.y + rng.uniform(-1.5, 1.5) * unit
            placed[i] = replace(thing, radius=0.36 * at.radius, x=float(x), y=float(y), inside=home)
            filled.add(home)
            continue
        beside = pick([t for t in placed.values() if t.inside is None], rng) if placed else None
        if rng.random() >= _BESIDE:
            beside = None
        outer = [t for t in placed.values() if t.inside is None]
        for _ in range(60):
            x, y = _spot(thing, beside, pixels, rng)
            gaps = [max(abs(x - t.x), abs(y - t.y)) - thing.radius - t.radius for t in outer]
            if all(g >= 3 * unit for g in gaps):
                break
            if may_overlap and sorted(gaps)[0] >= -4 * unit and all(g >= 3 * unit for g in sorted(gaps)[1:]):
                may_overlap = False
                break
        else:
            return None
        placed[i] = replace(thing, x=x, y=y)
    return [placed[i] for i in range(len(things))]


def _spot(thing: Thing, beside: Thing | None, pixels: int, rng: np.random.Generator) -> tuple[float, float]:
    margin = 1.12 * thing.radius + 1  # a shape turned by a few degrees reaches beyond its radius
    if beside is None:
        x, y = rng.uniform(margin, pixels - margin, 2)
    else:
        away = thing.radius + beside.radius + rng.uniform(4, 8) * pixels / 160
        side, along = int(rng.integers(4)), rng.uniform(-0.3, 0.3) * beside.radius
        dx, dy = ((away, along), (-away, along), (along, away), (along, -away))[side]
        x, y = np.clip((beside.x + dx, beside.y + dy), margin, pixels - margin)
    return float(x), float(y)
