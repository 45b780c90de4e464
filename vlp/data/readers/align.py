"""Carry character spans from one copy of a sentence to another that differs in blanks, quotes or case."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

Span = tuple[int, int]

_QUOTES = {"`": "'", "´": "'", "‘": "'", "’": "'", "“": "''", "”": "''", '"': "''"}
_ESCAPES = re.compile(r"-(?:lrb|rrb|lsb|rsb)-", re.IGNORECASE)
_BRACKETS = {"-lrb-": "(", "-rrb-": ")", "-lsb-": "[", "-rsb-": "]"}


def squeeze(text: str) -> tuple[str, list[int]]:
    """Lower case without blanks, quotes alike, Treebank brackets undone; and each character's place in `text`."""
    characters: list[str] = []
    places: list[int] = []
    escapes = {m.start(): m for m in _ESCAPES.finditer(text)}
    at = 0
    while at < len(text):
        if at in escapes:
            characters.append(_BRACKETS[escapes[at][0].lower()])
            places.append(at)
            at = escapes[at].end()
            continue
        character = text[at]
        if not character.isspace():
            for plain in _QUOTES.get(character, character.lower()):
                characters.append(plain)
                places.append(at)
        at += 1
    return "".join(characters), places


def carry(source: str, spans: Sequence[Span], target: str) -> list[Span | None]:
    """The spans of `source` as spans of `target`; None where the words of a span are not found in order.

    Where the two are the same but for blanks, quotes and case, every span is carried. Else tokens are matched, and
    a span is carried if all of its tokens have a match, one after the other.
    """
    if source == target:
        return list(spans)
    squeezed, places = squeeze(source)
    wanted, targets = squeeze(target)
    if squeezed == wanted:
        return [_by_character(source, span, places, target, targets) for span in spans]
    return _by_token(source, spans, target)


def _by_character(source: str, span: Span, places: list[int], target: str, targets: list[int]) -> Span | None:
    inside = [i for i, place in enumerate(places) if span[0] <= place < span[1]]
    if not inside:
        return None
    end = targets[inside[-1]]
    # The last character may be a bracket's escape, or one of several that one character became.
    following = next((t for t in targets[inside[-1] + 1 :] if t > end), len(target))
    while following > end + 1 and target[following - 1].isspace():
        following -= 1
    return targets[inside[0]], following


def _by_token(source: str, spans: Sequence[Span], target: str) -> list[Span | None]:
    left = list(re.finditer(r"\S+", source))
    right = list(re.finditer(r"\S+", target))
    matcher = SequenceMatcher(None, [squeeze(m[0])[0] for m in left], [squeeze(m[0])[0] for m in right], autojunk=False)
    match = {a + i: b + i for a, b, size in matcher.get_matching_blocks() for i in range(size)}
    carried: list[Span | None] = []
    for start, end in spans:
        tokens = [i for i, m in enumerate(left) if m.start() < end and m.end() > start]
        found = [match[i] for i in tokens if i in match]
        whole = bool(tokens) and left[tokens[0]].start() >= start and left[tokens[-1]].end() <= end
        in_order = len(found) == len(tokens) and bool(found) and found[-1] - found[0] == len(found) - 1
        carried.append((right[found[0]].start(), right[found[-1]].end()) if whole and in_order else None)
    return carried
