"""An independent judge of what is true of a scene: it knows English and boxes, and nothing of the generator's code."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

MEANING = {
    "disc": "circle",
    "block": "square",
    "wedge": "triangle",
    "hoop": "ring",
    "rhombus": "diamond",
    "pointer": "arrow",
    "tiny": "small",
    "big": "large",
    "huge": "large",
    "spotted": "dotted",
    "crosses": "cross",
    "rhombuses": "diamond",
}
ORDER = {
    "to the left of": "left",
    "left of": "left",
    "on the left side of": "left",
    "to the right of": "right",
    "right of": "right",
    "on the right side of": "right",
    "above": "above",
    "over": "above",
    "below": "below",
    "under": "below",
    "beneath": "below",
    "inside": "inside",
    "within": "inside",
    "in": "inside",
    "next to": "near",
    "beside": "near",
    "near": "near",
    "contains": "holds",
    "surrounds": "holds",
}
NUMBERS = {"two": 2, "three": 3, "four": 4}
COLOURS = ("red", "green", "blue", "yellow", "purple", "pink", "white", "black")
KINDS = ("size", "texture", "colour", "shape")

Objects = list[dict[str, Any]]


def meaning(word: str, known: set[str]) -> str:
    """The attribute value that a word, maybe a synonym or a plural, stands for."""
    for form in (word, word.removesuffix("s")):
        if MEANING.get(form, form) in known:
            return MEANING.get(form, form)
    raise AssertionError(f"{word!r} names no attribute")


def fits(words: list[str], thing: dict[str, Any]) -> bool:
    own = {thing[k] for k in KINDS}
    known = {*own, *MEANING.values(), *COLOURS}
    known |= {"small", "large", "solid", "striped", "dotted", "star", "heart", "moon", "pentagon", "hexagon"}
    return all(meaning(w, known) in own for w in words)


def related(relation: str, a: dict[str, Any], b: dict[str, Any], side: int) -> bool:
    """Plain geometry of two boxes."""
    if relation == "holds":
        return related("inside", b, a, side)
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a["box"], b["box"]
    within = bx1 <= ax1 and by1 <= ay1 and ax2 <= bx2 and ay2 <= by2
    if relation == "inside":
        return within
    if relation == "near":
        return bool(np.hypot(max(bx1 - ax2, ax1 - bx2, 0), max(by1 - ay2, ay1 - by2, 0)) <= 0.1 * side)
    dx, dy = (ax1 + ax2 - bx1 - bx2) / 2, (ay1 + ay2 - by1 - by2) / 2
    ahead, aside = {"left": (-dx, dy), "right": (dx, dy), "above": (-dy, dx), "below": (dy, dx)}[relation]
    return ahead > 0.1 * side and ahead > abs(aside)


def phrases(caption: dict[str, Any]) -> list[list[str] | None]:
    """The words of each mention but articles; None where it is no object."""
    text = caption["text"]
    found: list[list[str] | None] = []
    for m in caption["mentions"]:
        words = text[m["start"] : m["end"]].split()
        found.append(words[1:] if m["type"] == "other" else None)
        assert words[0] in ("a", "an", "the", *NUMBERS)
    return found


def claims(caption: dict[str, Any]) -> list[tuple[int, str, int]]:
    """Which mention stands how to which, by the words that lie at the claims' spans."""
    found = []
    for c in caption["relations"]:
        relation = ORDER[caption["text"][c["start"] : c["end"]]]
        subject, target = c["subject"], c["object"]
        found.append((target, relation, subject) if relation == "holds" else (subject, relation, target))
    return found


def true_as_said(caption: dict[str, Any], scene: dict[str, Any]) -> bool:
    """Is the caption true of the very objects that its mentions name?"""
    things, side = scene["objects"], scene["width"]
    for m, words in zip(caption["mentions"], phrases(caption), strict=True):
        number = caption["text"][m["start"] :].split()[0]
        if words is None:
            tone = caption["text"][m["start"] : m["end"]].split()[1]
            if m["objects"] or (m["type"] == "scene" and tone != scene["background"]["tone"]):
                return False
        elif len(m["objects"]) != NUMBERS.get(number, 1) or not all(fits(words, things[i]) for i in m["objects"]):
            return False
    mentions = caption["mentions"]
    return all(
        related(relation, things[i], things[j], side)
        for a, relation, b in claims(caption)
        for i in mentions[a]["objects"]
        for j in mentions[b]["objects"]
    )


def true_somehow(caption: dict[str, Any], scene: dict[str, Any]) -> bool:
    """Could the caption be said of this scene?

    Leniently: one of a group may speak for it in a relation, and two phrases may mean the same one.
    """
    things, side = scene["objects"], scene["width"]
    said = phrases(caption)
    objects = [n for n, words in enumerate(said) if words is not None]
    fitting = {n: {i for i, t in enumerate(things) if fits(said[n] or [], t)} for n in objects}
    for n, m in enumerate(caption["mentions"]):
        first, *rest = caption["text"][m["start"] : m["end"]].split()
        if m["type"] == "scene" and rest[0] != scene["background"]["tone"]:
            return False
        if first in NUMBERS and len(fitting[n]) < NUMBERS[first]:
            return False
    if not all(fitting.values()):
        return False
    for chosen in product(*(sorted(fitting[n]) for n in objects)):
        who = dict(zip(objects, chosen, strict=True))
        if all(who[a] != who[b] and related(r, things[who[a]], things[who[b]], side) for a, r, b in claims(caption)):
            return True
    return False
