"""The rows of a line of features.tsv: how they are stored, whether they are what they should be."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlp.errors import InputError
from vlp.regions.tsv_forms import of_line
from vlp.regions.tsv_lines import REMEDY, lines

_TOLERANCE = {"<f4": 2e-3, "<f2": 6e-3}
_EDGE = 0.05
"""How far a box may step over the image's edge, as a part of it; it is cut there."""
EXACT = 1e-6
"""Shares of a side that differ by less are the same; a box does not end so near to 0."""
_LINES_TO_TELL = 100
_DIGITS = 9
"""Of a row count"""
_TOLD = 20
"""Characters of a cell that are shown"""


class RowError(Exception):
    """A line that cannot be used; the message is the reason."""


@dataclass(frozen=True)
class Layout:
    """How a row of features.tsv is stored."""

    dtype: str
    size: int
    """Numbers of a row: D + 6."""


def find_layout(path: Path) -> Layout:
    """Tell float32 from float16 by which of the two makes sense of the geometry of lines that have rows.

    Raises:
        InputError: none of the first lines with rows is of this form; the form is named where it is a known one.
    """
    fits: set[Layout] = set()
    looked, problem = 0, None
    for row, _, cells in lines(path):
        try:
            count, raw = _raw(cells)
            if not count:
                continue
            here = _layouts(count, raw)
            if not here:
                raise RowError(_unfit(count, raw))
        except RowError as bad:
            looked += 1
            form = of_line(cells)
            remedy = "Rows without the six geometry numbers cannot be imported." if form is None else form[1]
            said = f"{bad}." if form is None else f"{bad}; it looks like {form[0]}."
            problem = problem or InputError(path, said, remedy, row=row)
        else:
            fits = fits & here or here
            if len(fits) == 1:
                return fits.pop()
            looked += 1
        if looked == _LINES_TO_TELL:
            break
    if problem is not None:
        raise problem
    if fits:
        raise InputError(path, "its rows may be float32 or float16: no line tells.", REMEDY)
    raise InputError(path, "no line has a row.", REMEDY)


def _unfit(count: int, raw: bytes) -> str:
    """Why `raw` is no layout of `count` rows."""
    if len(raw) < 14 * count:
        return f"column 2 says {count:,} rows, but the last column has no more than {len(raw):,} bytes: no row count"
    widths = ", ".join(
        f"{len(raw) // (count * size):,} numbers of {name}"
        for name, size in (("float32", 4), ("float16", 2))
        if len(raw) % (count * size) == 0
    )
    what = f"rows of {widths}" if widths else "no whole rows"
    return (
        f"{len(raw):,} bytes for {count:,} rows are neither float32 nor float16 rows that end in x1/W, y1/H, x2/W, "
        f"y2/H, w/W, h/H ({what})"
    )


def _layouts(count: int, raw: bytes) -> set[Layout]:
    fits = set()
    for dtype in _TOLERANCE:
        size, rest = divmod(len(raw), count * np.dtype(dtype).itemsize)
        if rest == 0 and size > 6 and _is_geometry(np.frombuffer(raw, dtype).reshape(count, size)[:, -6:], dtype):
            fits.add(Layout(dtype, size))
    return fits


def _raw(cells: list[bytes]) -> tuple[int, bytes]:
    if len(cells) < 2:
        raise RowError(f"a line without a tab: {_short(cells[0])}")
    if not cells[1].strip().isdigit() or len(cells[1].strip()) > _DIGITS:
        raise RowError(f"the row count is damaged: column 2 is no number of rows: {_short(cells[1])}")
    count = int(cells[1])
    try:
        return count, base64.b64decode(cells[-1], validate=True) if count else b""
    except (ValueError, binascii.Error) as error:
        raise RowError(f"the base64 text is damaged ({error})") from error


def _short(cell: bytes) -> str:
    text = cell.decode("utf-8", "replace")
    return repr(text) if len(text) <= _TOLD else f"{text[:_TOLD]!r}... of {len(text):,} characters"


def decode(cells: list[bytes], layout: Layout) -> NDArray[np.float32]:
    count, raw = _raw(cells)
    wanted = count * layout.size * np.dtype(layout.dtype).itemsize
    if len(raw) != wanted:
        raise RowError(f"{len(raw)} bytes for {count} rows of {layout.size} numbers, wanted {wanted}")
    rows = np.frombuffer(raw, layout.dtype).reshape(count, layout.size).astype(np.float32)
    if not np.isfinite(rows).all() or np.abs(rows).max(initial=0) > np.finfo(np.float16).max:
        raise RowError("a feature is not a finite float16 number")
    if not _is_geometry(rows[:, -6:], layout.dtype):
        raise RowError("the last six numbers of a row are not x1/W, y1/H, x2/W, y2/H, w/W, h/H")
    return rows


def _is_geometry(rows_N6: NDArray[Any], dtype: str) -> bool:
    numbers = rows_N6.astype(np.float64)
    if not np.isfinite(numbers).all():
        return False
    sides = numbers[:, 2:4] - numbers[:, :2]
    inside = (numbers >= -_EDGE).all() and (numbers <= 1 + _EDGE).all() and (sides >= -_TOLERANCE[dtype]).all()
    # nothing but zeros, or numbers next to it, is what a wrong dtype may show
    ends = (numbers[:, 2:4] > EXACT).all()
    return bool(inside and ends and np.abs(sides - numbers[:, 4:]).max(initial=0) <= _TOLERANCE[dtype])
