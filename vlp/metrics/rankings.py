"""Predictions that rank: every text and image of the split asked for, each candidate once, the right ones right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vlp.errors import InputError
from vlp.metrics import items
from vlp.metrics.items import ANOTHER, Truth, shown
from vlp.metrics.measure import REMEDY

if TYPE_CHECKING:
    import pyarrow as pa

    from vlp.metrics.items import Items

ASKED = ("i2t", "t2i")
"""With an image, with a text."""


class _Rows:
    """The columns of a predictions file as numbers: an image or a text by its place in `names`, images first."""

    def __init__(self, path: Path, predictions: pa.Table, told: Items | None, truth: Truth) -> None:
        """Raises InputError: a direction is none of ours, or an id is not among the file's items."""
        import pyarrow as pa
        import pyarrow.compute as pc

        direction = predictions["direction"]
        if strange := set(direction.unique().to_pylist()) - set(ASKED):
            raise InputError(path, f"knows no direction {shown(map(str, strange))}.", f"They are {', '.join(ASKED)}.")
        self.by_text = np.asarray(pc.equal(direction, "t2i"))  # pyright: ignore
        ids = set().union(*(predictions[name].unique().to_pylist() for name in items.PAIRS))
        asked = set(predictions["query_id"].unique().to_pylist())
        items.demand_whole(path, told, ids, truth)
        if never := ids - asked:
            raise InputError(path, f"has candidates that are no query: {shown(never)}.", REMEDY)
        texts = sorted(name for name in ids if name in truth.image_of)
        images = sorted(name for name in ids if name not in truth.image_of)
        self.names, self.images = [*images, *texts], len(images)
        place = {name: i for i, name in enumerate(images)}
        self.owner = np.array([*range(len(images)), *(place.get(truth.image_of[name], -1) for name in texts)])
        known = pa.array(self.names)
        self.query, self.candidate = (
            np.asarray(pc.index_in(predictions[name], value_set=known), np.int64)  # pyright: ignore
            for name in items.PAIRS
        )
        of_text = self.query >= self.images
        wrong = (of_text != self.by_text) | ((self.candidate >= self.images) == self.by_text)
        if wrong.any():
            where = self.pair(int(np.flatnonzero(wrong)[0]))
            raise InputError(path, f"{where}: t2i asks texts for images, i2t images for texts.", REMEDY)
        columns = predictions.column_names
        rows = predictions.num_rows
        self.fold = np.asarray(predictions["fold"], np.int64) if "fold" in columns else np.zeros(rows, np.int64)
        self.pruned = np.asarray(predictions["pruned"], bool) if "pruned" in columns else np.zeros(rows, bool)
        self.positive = np.asarray(predictions["positive"], bool)

    def pair(self, row: int) -> str:
        return f"query {self.names[self.query[row]]}, candidate {self.names[self.candidate[row]]}"

    def named(self, numbers: Sequence[int]) -> str:
        return shown(self.names[int(i)] for i in numbers)


def demand_whole(path: Path, predictions: pa.Table, told: Items | None, truth: Truth) -> None:
    """
    Raises:
        InputError: a text or an image is missing or of elsewhere, a candidate stands twice, a query has fewer than the
            others, folds do not divide the items, or a right answer is not the table's.
    """
    items.demand_rows(path, told, predictions.num_rows)
    r = _Rows(path, predictions, told, truth)
    _each_once(path, r)
    for fold in np.unique(r.fold).tolist() or [0]:
        for by_text in (False, True):
            _alike(path, r, fold, by_text)
    _folds(path, r)
    _positives(path, r)


def _each_once(path: Path, r: _Rows) -> None:
    n = len(r.names)
    number = (r.fold * n + r.query) * n + r.candidate
    _, first = np.unique(number, return_index=True)
    if len(first) < len(number):
        again = np.delete(np.arange(len(number)), first)
        raise InputError(path, f"{r.pair(int(again[0]))}: the pair stands there more than once.", REMEDY)


def _alike(path: Path, r: _Rows, fold: int, by_text: bool) -> None:
    """Every query of a direction has as many candidates."""
    at = (r.fold == fold) & (r.by_text == by_text) & ~r.pruned
    counts = np.bincount(r.query[at], minlength=len(r.names))
    lacking = np.zeros(len(r.names), bool)
    if fold == 0:  # all items
        lacking[r.images :] = by_text
        lacking[: r.images] = not by_text
        lacking &= counts == 0
    if lacking.any():
        kind = "texts" if by_text else "images"
        found = np.flatnonzero(lacking)
        raise InputError(path, f"has {kind} that are no query: {r.named(found.tolist())}.", REMEDY)
    full = counts.max(initial=0)
    short = np.flatnonzero((counts > 0) & (counts < full))
    if len(short):
        problem = f"has queries with fewer than the {full:,} candidates of the others: {r.named(short.tolist())}."
        raise InputError(path, problem, REMEDY)


def _folds(path: Path, r: _Rows) -> None:
    """Each item is in one fold beside the whole, with its candidates; folds have as many images."""
    folds = np.unique(r.fold)
    if len(folds) < 2 and folds[0] == 0:
        return
    of = np.zeros(len(r.names), np.int64)
    apart = r.fold > 0
    of[r.query[apart]] = r.fold[apart]
    images = np.bincount(of[: r.images], minlength=int(folds.max()) + 1)[1:]
    wrong = (of[r.query[apart]] != r.fold[apart]) | (of[r.candidate[apart]] != r.fold[apart])
    if wrong.any():
        row = int(np.flatnonzero(apart)[np.flatnonzero(wrong)[0]])
        raise InputError(path, f"{r.pair(row)} are in two folds.", REMEDY)
    if (of == 0).any() or folds[0] != 0 or len(set(images.tolist())) > 1:
        lacking = np.flatnonzero(of == 0)
        named = f"; in none: {r.named(lacking.tolist())}" if len(lacking) else ""
        raise InputError(path, f"its folds have {images.tolist()} images{named}.", REMEDY)


def _positives(path: Path, r: _Rows) -> None:
    """A text's own image is right; in a blind run every image stands for another one, the same for all its texts."""
    image = np.where(r.by_text, r.candidate, r.query)
    own = r.owner[np.where(r.by_text, r.query, r.candidate)]
    right = own == image
    wrong = right != r.positive
    if not wrong.any():
        return
    if not (right & r.positive).any():
        other = np.full(r.images, -1, np.int64)
        other[own[r.positive]] = image[r.positive]
        stands = other[other >= 0]
        if len(np.unique(stands)) == len(stands) and ((other[own] == image) == r.positive).all():
            return
    row = int(np.flatnonzero(wrong)[0])
    problem = f"{r.pair(row)}: `positive` is not as the captions table says, in {int(wrong.sum()):,} pairs."
    raise InputError(path, problem, ANOTHER)
