"""Lists of addresses in the forms they are published in."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vlp.errors import InputError
from vlp.files import read_json

_LONGEST = 4096


@dataclass
class Listed:
    """Addresses without repetition, in the list's order, and what is none."""

    addresses: list[str] = field(default_factory=list)
    repeated: int = 0
    bad: list[tuple[int, str]] = field(default_factory=list)
    """Row (a line from 1, a place in a JSON list from 0) and the cell."""


def read(source: str, path: Path) -> Listed:
    """
    Args:
        source: one of SOURCES.

    Raises:
        InputError: the file is missing, of another form, not UTF-8, or has no address.
    """
    if not path.exists():
        raise InputError(path, "the file is missing.", "Name the published list; `vlp doctor` says where it is.")
    found, seen = Listed(), set()
    try:
        for row, cell in SOURCES[source](path):
            address = cell.strip()
            if not address.startswith(("http://", "https://")) or len(address) > _LONGEST or " " in address:
                found.bad.append((row, address[:80]))
            elif address in seen:
                found.repeated += 1
            else:
                seen.add(address)
                found.addresses.append(address)
    except UnicodeDecodeError as error:
        raise InputError(path, f"is not UTF-8 ({error}).", "Fetch the list again.") from error
    if not found.addresses:
        first = f" (row {found.bad[0][0]}: {found.bad[0][1]!r})" if found.bad else ""
        raise InputError(path, f"has no address in the form of {source}{first}.", f"Known: {', '.join(SOURCES)}.")
    return found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with path.open(encoding="utf-8") as file:
        for row, line in enumerate(file, start=1):
            if line.strip():
                yield row, line


def _conceptual_captions(path: Path) -> Iterator[tuple[int, str]]:
    """`caption <tab> address`"""
    for row, line in _lines(path):
        cells = line.rstrip("\n").split("\t")
        yield row, cells[1] if len(cells) > 1 else line


def _sbu(path: Path) -> Iterator[tuple[int, str]]:
    """An address a line, or JSON with `image_urls`."""
    if path.suffix != ".json":
        yield from _lines(path)
        return
    value = read_json(path)
    addresses = value.get("image_urls") if isinstance(value, dict) else None
    if not isinstance(addresses, list):
        raise InputError(path, "has no list `image_urls`.", "Fetch the list again.")
    yield from ((row, str(address)) for row, address in enumerate(addresses))


def _openimages(path: Path) -> Iterator[tuple[int, str]]:
    """CSV with a column `OriginalURL`."""
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file)
        if "OriginalURL" not in (table.fieldnames or ()):
            raise InputError(path, "has no column OriginalURL.", "Name the list of image ids with addresses.")
        for line in table:
            yield table.line_num, line["OriginalURL"] or ""


SOURCES: dict[str, Callable[[Path], Iterator[tuple[int, str]]]] = {
    "conceptual_captions": _conceptual_captions,
    "sbu": _sbu,
    "openimages": _openimages,
    "list": _lines,
}
