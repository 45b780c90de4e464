"""Which images of two sets are the same photograph."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from vlp.data.leaks.identity import IDS, hashes_of
from vlp.data.leaks.phash import near

LINKED, HASH = "linked", "hash"


@dataclass(frozen=True)
class Match:
    used: str
    """Image of the first set."""
    evaluated: str
    """The image of the second set that it is."""
    by: str
    """`image_id`, `coco_id`, `flickr_id` or `vg_id`, if it is equal; `linked`: other images of the two sets have ids of
    both; `hash`: the pictures look the same."""
    distance: int | None = None
    """Bits of the hash, where it was the reason."""


def matches(used: pa.Table, evaluated: pa.Table) -> list[Match]:
    """All pairs of one image of each set that are one photograph, each pair once, sorted.

    Args:
        used, evaluated: rows in the form of `identity.IDENTITY`, without an image twice.
    """
    found: dict[tuple[str, str], Match] = {}
    for match in (*_by_ids(used, evaluated), *_by_hash(used, evaluated)):
        found.setdefault((match.used, match.evaluated), match)
    return [found[key] for key in sorted(found)]


def _keys(table: pa.Table) -> list[list[tuple[str, str]]]:
    """Of each row its (column, id), image_id first."""
    columns = {name: table[name].to_pylist() for name in ("image_id", *IDS)}
    return [[(n, v[i]) for n, v in columns.items() if v[i] is not None] for i in range(table.num_rows)]


def _by_ids(used: pa.Table, evaluated: pa.Table) -> Iterator[Match]:
    ours, theirs = _keys(used), _keys(evaluated)
    # One photo may have a COCO id here and a Visual Genome id there: a row that has both joins them.
    groups = _Groups()
    for keys in (*ours, *theirs):
        for other in keys[1:]:
            groups.join(keys[0], other)
    members: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, keys in enumerate(theirs):
        members[groups.of(keys[0])].append(row)
    for keys in ours:
        for row in members.get(groups.of(keys[0]), ()):
            equal = next((name for name, value in keys if (name, value) in theirs[row]), LINKED)
            yield Match(keys[0][1], theirs[row][0][1], equal)


def _by_hash(used: pa.Table, evaluated: pa.Table) -> Iterator[Match]:
    our_rows, our_hashes = hashes_of(used)
    their_rows, their_hashes = hashes_of(evaluated)
    if not our_rows or not their_rows:
        return
    ours, theirs = used["image_id"].to_pylist(), evaluated["image_id"].to_pylist()
    for other, row, distance in near(their_hashes, our_hashes):
        yield Match(ours[our_rows[row]], theirs[their_rows[other]], HASH, distance)


class _Groups:
    """Union-find."""

    def __init__(self) -> None:
        self._above: dict[tuple[str, str], tuple[str, str]] = {}

    def of(self, key: tuple[str, str]) -> tuple[str, str]:
        top = key
        while (above := self._above.get(top)) is not None:
            top = above
        while key != top:
            self._above[key], key = top, self._above[key]
        return top

    def join(self, a: tuple[str, str], b: tuple[str, str]) -> None:
        a, b = self.of(a), self.of(b)
        if a != b:
            self._above[max(a, b)] = min(a, b)
