"""The tables of a report's page, and where two pages differ."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

_HEADINGS = ("h2", "h3", "summary")
_ROWS = {"table": "tr", "dl": "div", "article": "article"}
"""Element that is read as a table -> its rows: tables, lists of facts, cards."""
_CELLS = ("td", "th", "dt", "dd", "h3", "p")


@dataclass
class Grid:
    """What is in the page as a table."""

    name: str
    """The headings above it."""
    rows: list[list[str]] = field(default_factory=list)

    def cell(self, row: int, column: int) -> str:
        """How a person finds it."""
        head = self.rows[0][column] if column < len(self.rows[0]) else ""
        return f"{self.name}, row {row + 1} ({self.rows[row][0]}), column {column + 1}" + (f" ({head})" if head else "")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.grids: list[Grid] = []
        self._titles = dict.fromkeys(_HEADINGS, "")
        self._open: list[str] = []
        """Elements that are read as tables; one may stand in another."""
        self._text: list[str] | None = None
        self._drawn = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._drawn += tag == "svg"
        if tag in _ROWS:
            above = [self._titles[name] for name in _HEADINGS]
            self._open.append(tag)
            self.grids.append(Grid(" / ".join(filter(None, above)) or "top"))
        if self._open and tag == _ROWS[self._open[-1]]:
            self.grids[-1].rows.append([])
        if tag in _HEADINGS or (self._open and tag in _CELLS):
            self._text = []

    def handle_endtag(self, tag: str) -> None:
        self._drawn -= tag == "svg"
        if self._text is not None and (tag in _HEADINGS or tag in _CELLS):
            words = " ".join("".join(self._text).split())
            if self._open:
                self.grids[-1].rows[-1].append(words)
            else:
                below = _HEADINGS[_HEADINGS.index(tag) + 1 :]
                self._titles |= {tag: words, **dict.fromkeys(below, "")}
            self._text = None
        if self._open and tag == self._open[-1]:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._text is not None and not self._drawn:
            self._text.append(data)


def grids(page: str) -> list[Grid]:
    """Every table of the page, its lists of facts and its cards; what figures write in them is no cell."""
    reader = _Reader()
    reader.feed(page)
    return reader.grids


def differences(page: str, again: str) -> tuple[int, list[str]]:
    """How many cells were compared, and each that is another one in `again`."""
    first, second = grids(page), grids(again)
    found = list(_named(first, second))
    count = 0
    for one, other in zip(first, second, strict=False):
        if len(one.rows) != len(other.rows):
            found.append(f"{one.name}: {len(one.rows)} rows, {len(other.rows)} when computed again")
        for i, (row, now) in enumerate(zip(one.rows, other.rows, strict=False)):
            for j, (cell, new) in enumerate(itertools.zip_longest(row, now, fillvalue="")):
                count += 1
                if cell != new:
                    place = (one if j < len(row) else other).cell(i, j)
                    found.append(f"{place}: {cell!r}, computed again {new!r}")
    return count, found


def _named(first: list[Grid], second: list[Grid]) -> Iterator[str]:
    for one, other in itertools.zip_longest((g.name for g in first), (g.name for g in second)):
        if one != other:
            yield f"the table {one or other!r} is " + ("not there when computed again" if other is None else "another")
            return
