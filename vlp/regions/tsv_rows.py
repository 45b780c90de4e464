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
from vlp.regions.tsv_lines import REMEDY, lines

_TOLERANCE = {"<f4": 2e-3, "<f2": 6e-3}
_EDGE = 0.05
"""How far a box may step over the image's edge, as a part of it; it is cut there."""
EXACT = 1e-6
"""Shares of a side that differ by less are the same; a box does not end so near to 0."""
_LINES_TO_TELL = 100


class RowError(Exception):
    """A line that cannot be used; the message is the reason."""


@dataclass(frozen=True)
class Layout:
    """How a row of features.tsv is stored."""

    dtype: str
    size: int
    """Numbers of a row: D + 6."""


def find_layout(path: Path) -> Layout:
    """Tell float32 from float16 by which of the two makes sense of the geometry of lines that have rows."""
    fits: set[Layout] = set()
    looked = 0
    for row, _, cells in lines(path, ""):
        try:
            count, raw = _raw(cells)
        except RowError as bad:
            raise InputError(path, f"{bad}.", REMEDY, row=row) from bad
        if not count:
            continue
        here = _layouts(count, raw)
        fits = here if not looked else fits & here
        looked += 1
        if len(fits) == 1:
            return fits.pop()
        if not fits or looked == _LINES_TO_TELL:
            problem = f"{len(raw)} bytes for {count} rows are neither float32 nor float16 rows that end in x1/W, y1/H, "
            remedy = "Rows without the six geometry numbers cannot be imported."
            raise InputError(path, f"{problem}x2/W, y2/H, w/W, h/H.", remedy, row=row)
    raise InputError(path, "no line has a row.", REMEDY)


def _layouts(count: int, raw: bytes) -> set[Layout]:
    fits = set()
    for dtype in _TOLERANCE:
        size, rest = divmod(len(raw), count * np.dtype(dtype).itemsize)
        if rest == 0 and size > 6 and _is_geometry(np.frombuffer(raw, dtype).reshape(count, size)[:, -6:], dtype):
            fits.add(Layout(dtype, size))
    return fits


def _raw(cells: list[bytes]) -> tuple[int, bytes]:
    try:
        count = int(cells[1])
        if count < 0:
            raise ValueError(f"{count} rows")
        return count, base64.b64decode(cells[-1], validate=True) if count else b""
    except (ValueError, binascii.Error) as error:
        raise RowError(f"the row count or the base64 text is damaged ({error})") from error


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
