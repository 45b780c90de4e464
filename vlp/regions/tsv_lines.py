"""The lines of VinVL/Oscar files, and the indices that stand beside them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from vlp.errors import InputError
from vlp.images.names import AmbiguousError, Names

REMEDY = "Fetch or make the file again."


def raw_lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Row number, byte offset and bytes of each line, compared with the .lineidx beside the file.

    Raises InputError: the file is missing, or its lines are not where the .lineidx says.
    """
    if not path.exists():
        raise InputError(path, "the file is missing.", "Check regions.tsv in the config.")
    index = path.with_suffix(".lineidx")
    remedy = f"The file is not whole, or {index.name} is of another one: fetch them again, or remove the latter."
    with path.open("rb") as file:
        if not index.exists():
            place = 0
            for row, line in enumerate(file, start=1):
                yield row, place, line
                place += len(line)
            return
        place = row = 0
        with index.open("rb") as offsets:
            numbered = (offset for offset in offsets if offset.strip())
            for row, (line, offset) in enumerate(zip_longest(file, numbered), start=1):
                if line is None or offset is None or not offset.strip().isdigit() or int(offset) != place:
                    if offset is None and line is not None and not line.strip():
                        continue
                    where = "ends" if line is None else f"has a line at byte {place:,}"
                    said = "no line" if offset is None else offset.decode("utf-8", "replace").strip()
                    raise InputError(path, f"the file {where}, {index.name} says {said}.", remedy, row=row)
                yield row, place, line
                place += len(line)


def lines(path: Path) -> Iterator[tuple[int, str, list[bytes]]]:
    """Row number, the image's name and the tab-separated cells of each line, at least one.

    Raises InputError: the file is missing, or is not as its .lineidx says.
    """
    for row, _, line in raw_lines(path):
        if not line.strip():
            continue
        cells = line.rstrip(b"\r\n").split(b"\t")
        yield row, name_in(cells[0]), cells


def name_in(cell: bytes) -> str:
    return cell.decode("utf-8", "replace").strip()


def id_of(names: Names, path: Path, row: int, name: str) -> str | None:
    """The image of ours that a line is of. Raises InputError: the name fits several."""
    try:
        return names.find(name)
    except AmbiguousError as error:
        remedy = "Name the images in the files by as much of their path as tells them apart."
        raise InputError(path, f"{error}.", remedy, row=row) from error


def check_number(folder: Path, rows_of_ids: Any, cell: bytes, row: int) -> None:
    """Raises InputError: imageid2idx.json has another line for the image."""
    name = name_in(cell)
    said = rows_of_ids.get(name, row - 1) if isinstance(rows_of_ids, dict) else None
    if said != row - 1:
        problem = f"line {said} for the image that features.tsv has in line {row - 1} (from 0)."
        remedy = "Fetch the files of one folder together, or remove this one."
        raise InputError(folder / "imageid2idx.json", problem, remedy, row=name)
