"""An import of VinVL/Oscar files that loses most of its images, tags or names stops, with the likely cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlp.errors import InputError
from vlp.images.decode import ImageRecord
from vlp.regions.tsv_objects import Object, Prediction, join_in

_LOOKED = 200
"""Images with lost objects that the cause is looked for in."""
_EXPLAINED = 0.5
_REMEDY = "`data.max_lost`, or --max-lost, allows more."
Turn = Callable[[Prediction, tuple[int, int]], tuple[Sequence[Object], tuple[float, float]]]


def _rects(change: Callable[[tuple[float, float, float, float]], tuple[float, float, float, float]]) -> Turn:
    return lambda line, _: ([replace(o, rect=change(o.rect)) for o in line.objects], line.size)


_CAUSES: tuple[tuple[str, Turn], ...] = (
    (
        "The rects are x, y, width, height: make them x1, y1, x2, y2.",
        _rects(lambda r: (r[0], r[1], r[0] + r[2], r[1] + r[3])),
    ),
    (
        "image_w and image_h are exchanged in predictions.tsv: exchange them.",
        lambda line, _: (line.objects, (line.size[1], line.size[0])),
    ),
    ("The rects are y1, x1, y2, x2: make them x1, y1, x2, y2.", _rects(lambda r: (r[1], r[0], r[3], r[2]))),
    ("The rects are shares of the sides: make them pixels.", lambda line, _: (line.objects, (1.0, 1.0))),
)
_TURNED = (
    "The geometry of features.tsv is y1/H, x1/W, y2/H, x2/W: make it x1/W, y1/H, x2/W, y2/H, w/W, h/H, or the boxes "
    "are turned."
)


@dataclass
class Losses:
    """What the lines of one folder gave."""

    images: Counter[str] = field(default_factory=Counter)
    """Split -> images that are wanted"""
    written: Counter[str] = field(default_factory=Counter)
    objects: Counter[str] = field(default_factory=Counter)
    without_row: Counter[str] = field(default_factory=Counter)
    unnamed: Counter[str] = field(default_factory=Counter)
    first: str | None = None
    """Id of the first image that lost an object for want of a row, and of a name."""
    nameless: str | None = None
    _looked: int = 0
    _lost: int = 0
    _found: Counter[str] = field(default_factory=Counter)

    def add(
        self, record: ImageRecord, rows_N4: NDArray[np.float32], line: Prediction, taken: Sequence[Object | None]
    ) -> None:
        """An image that is written."""
        self.written[record.split] += 1
        self.objects[record.split] += len(line.objects)
        lost = len(line.objects) - sum(o is not None for o in taken)
        self.without_row[record.split] += lost
        unnamed = sum(o.name is None for o in line.objects)
        self.unnamed[record.split] += unnamed
        if unnamed and self.nameless is None:
            self.nameless = record.image_id
        if not lost or self._looked == _LOOKED:
            return
        self.first = self.first or record.image_id
        self._looked += 1
        self._lost += lost
        before = len(line.objects) - lost
        for cause, turn in _CAUSES:
            found = join_in(rows_N4, *turn(line, (record.width, record.height)))
            self._found[cause] += max(0, sum(o is not None for o in found) - before)
        found = join_in(rows_N4[:, [1, 0, 3, 2]], line.objects, line.size)
        self._found[_TURNED] += max(0, sum(o is not None for o in found) - before)

    def check(self, folder: Path, wanted: Iterable[ImageRecord], reasons: Sequence[str], limit: float) -> None:
        """
        Args:
            wanted: the images that the folder was to give.
            reasons: why those that it did not give are left out.

        Raises:
            InputError: more than the share `limit` of the images, of the objects or of their names is lost, in all or
                in a split.
        """
        if limit >= 1:
            return
        self.images.update(record.split for record in wanted)
        for split in ("", *sorted(self.images)):
            self._check_split(folder, split, reasons, limit)

    def _check_split(self, folder: Path, split: str, reasons: Sequence[str], limit: float) -> None:
        def count(of: Counter[str]) -> int:
            return of[split] if split else of.total()

        of = f" of the split {split}" if split else ""
        images, written, objects = count(self.images), count(self.written), count(self.objects)
        if images and (not written or images - written > limit * images):
            reason = f": {reasons[0]}" if reasons else ""
            problem = f"{images - written:,} of {images:,} images{of} would be lost{reason}."
            raise InputError(folder / "features.tsv", problem, f"Their ids or lines are not those wanted. {_REMEDY}")
        if (lost := count(self.without_row)) > limit * objects and self.first is not None:
            problem = f"{lost:,} of {objects:,} objects{of} have no row of features.tsv with their box."
            cause, found = max(self._found.items(), key=lambda item: item[1], default=("", 0))
            if found < _EXPLAINED * self._lost:
                cause = "The two files may be of different runs, or the sizes of other images."
            raise InputError(folder / "predictions.tsv", problem, f"{cause} {_REMEDY}", row=self.first)
        if (lost := count(self.unnamed)) > limit * objects and self.nameless is not None:
            problem = f"{lost:,} of {objects:,} objects{of} have no word for their class, as '' or '3'."
            remedy = f"Put the names of the label map in the place of numbers. {_REMEDY}"
            raise InputError(folder / "predictions.tsv", problem, remedy, row=self.nameless)
