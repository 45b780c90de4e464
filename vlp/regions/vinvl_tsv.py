"""Import the region files of VinVL and Oscar: features.tsv and predictions.tsv -> a region store.

features.tsv: id, number of rows N, base64 of N rows, float32 or float16, little-endian: D features, then x1/W, y1/H,
x2/W, y2/H, w/W, h/H. predictions.tsv: id, JSON {image_h, image_w, objects: [{class, rect, conf}]} (or the bare list of
objects); rect = xyxy pixels. Both are read line by line: memory does not grow with the features.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlp.errors import InputError
from vlp.regions.geometry import clip, iou_matrix
from vlp.regions.images import ImageRecord, Skipped
from vlp.regions.progress import Meter
from vlp.regions.quality import by_split
from vlp.regions.store import RegionWriter
from vlp.tracking.run import code_version

SAME_BOX = 0.9
"""An object belongs to the row whose box it overlaps so much."""
_TOLERANCE = {"<f4": 2e-3, "<f2": 6e-3}
_EDGE = 0.05
"""How far a box may step over the image's edge, as a part of it; it is cut there."""
_REMEDY = "Fetch or make the file again."


class _RowError(Exception):
    """A line that cannot be used; the message is the reason."""


@dataclass(frozen=True)
class _Layout:
    """How a row of features.tsv is stored."""

    dtype: str
    size: int
    """Numbers of a row: D + 6."""


def import_tsv(folder: Path, images: Sequence[ImageRecord], prefix: str, out: Path, skipped: Skipped) -> dict[str, Any]:
    """Write the store `out` with the rows of those `images` that the files have -> quality.json's content.

    Rows that no object of predictions.tsv belongs to get class -1 and score NaN and stand last, in the file's order.

    Args:
        prefix: data set name; the files' `1000268201` is our `flickr30k/1000268201`.

    Raises:
        InputError: a file is missing or is no such file; an id comes twice; no image of the tables is in the files;
            a line is bad or an image is missing and `skipped` says stop; the disk is full.
    """
    features, predictions = folder / "features.tsv", folder / "predictions.tsv"
    wanted = {record.image_id: record for record in images}
    places, class_names = _index_predictions(predictions, prefix, wanted)
    layout = _find_layout(features)
    number = {name: i for i, name in enumerate(class_names)}
    counts = dict.fromkeys(("not_in_tables", "without_predictions", "objects", "objects_without_row"), 0)
    seen: set[str] = set()
    without: list[str] = []
    facts = {
        "detector": "VinVL TSV",
        "weights_sha256": "unknown",
        "score_threshold": "unknown",
        "source_dtype": "float32" if layout.dtype == "<f4" else "float16",
        "code_version": code_version(),
    }
    with (
        predictions.open("rb") as predicted,
        Meter("import regions", len(images), "images") as meter,
        RegionWriter(out, layout.size - 6, class_names, facts) as writer,
    ):
        for row, image_id, cells in _lines(features, prefix):
            record = wanted.get(image_id)
            if record is None:
                counts["not_in_tables"] += 1
                continue
            if image_id in seen:
                raise InputError(features, f"the id {image_id} comes twice.", "Remove one of the two.", row=row)
            seen.add(image_id)
            meter.advance(1)
            try:
                rows = _decode(cells, layout)
                objects = []
                if image_id in places:
                    predicted.seek(places[image_id])
                    objects = _objects(predicted.readline(), record)
                else:
                    counts["without_predictions"] += 1
            except _RowError as bad:
                skipped.add(record, features, f"line {row}: {bad}")
                continue
            classes, scores, lost = _join(rows[:, -6:-2], objects, number)
            counts["objects"] += len(objects)
            counts["objects_without_row"] += lost
            if (classes < 0).all():
                without.append(image_id)
            size = (record.width, record.height)
            boxes = clip(rows[:, -6:-2].astype(np.float64) * (*size, *size), *size)
            writer.add(image_id, size, rows[:, :-6], boxes, classes, scores)
        for record in images:
            if record.image_id not in seen:
                skipped.add(record, features, "the image is not in the file")
        if not writer.images:
            raise InputError(
                features, "it has none of the images of the tables.", f"The ids must be those after `{prefix}/`."
            )
    return {
        "splits": by_split(out, {record.image_id: record.split for record in images}, ()),
        "tsv": {"row": layout.size, "dtype": facts["source_dtype"], **counts},
        "without_detection": without,
        "skipped": skipped.images,
    }


def _lines(path: Path, prefix: str) -> Iterator[tuple[int, str, list[bytes]]]:
    """Row number, our image id and the tab-separated cells of each line.

    Raises InputError: the file is missing, or a line has too few cells.
    """
    if not path.exists():
        raise InputError(path, "the file is missing.", "Check regions.tsv in the config.")
    with path.open("rb") as file:
        for row, line in enumerate(file, start=1):
            if not line.strip():
                continue
            cells = line.rstrip(b"\r\n").split(b"\t")
            if len(cells) < 2:
                raise InputError(path, "a line without a tab.", _REMEDY, row=row)
            yield row, _image_id(prefix, cells[0]), cells


def _image_id(prefix: str, cell: bytes) -> str:
    return f"{prefix}/{cell.decode('utf-8', 'replace').strip()}"


def _index_predictions(path: Path, prefix: str, wanted: dict[str, ImageRecord]) -> tuple[dict[str, int], list[str]]:
    """Byte offset of each wanted image's line, and the sorted class names of all of them."""
    if not path.exists():
        raise InputError(path, "the file is missing.", "Check regions.tsv in the config.")
    places: dict[str, int] = {}
    names: set[str] = set()
    with path.open("rb") as file:
        row, place = 0, 0
        while line := file.readline():
            row += 1
            image_id = _image_id(prefix, line.split(b"\t", 1)[0])
            if image_id in wanted:
                if image_id in places:
                    raise InputError(path, f"the id {image_id} comes twice.", "Remove one of the two.", row=row)
                try:
                    names.update(name for name, _, _ in _objects(line, wanted[image_id]))
                except _RowError as bad:
                    raise InputError(path, f"{image_id}: {bad}.", _REMEDY, row=row) from bad
                places[image_id] = place
            place += len(line)
    return places, sorted(names)


def _find_layout(path: Path) -> _Layout:
    """Tell float32 from float16 by which of the two makes sense of the geometry, in the first line that has rows."""
    for row, _, cells in _lines(path, ""):
        try:
            count, raw = _raw(cells)
        except _RowError as bad:
            raise InputError(path, f"{bad}.", _REMEDY, row=row) from bad
        if not count:
            continue
        fits = []
        for dtype in _TOLERANCE:
            size, rest = divmod(len(raw), count * np.dtype(dtype).itemsize)
            if rest == 0 and size > 6 and _is_geometry(np.frombuffer(raw, dtype).reshape(count, size)[:, -6:], dtype):
                fits.append(_Layout(dtype, size))
        if len(fits) != 1:
            problem = f"{len(raw)} bytes for {count} rows are neither float32 nor float16 rows that end in x1/W, y1/H, "
            remedy = "Rows without the six geometry numbers cannot be imported."
            raise InputError(path, f"{problem}x2/W, y2/H, w/W, h/H.", remedy, row=row)
        return fits[0]
    raise InputError(path, "no line has a row.", _REMEDY)


def _raw(cells: list[bytes]) -> tuple[int, bytes]:
    try:
        count = int(cells[1])
        return count, base64.b64decode(cells[-1], validate=True) if count else b""
    except (ValueError, binascii.Error) as error:
        raise _RowError(f"the row count or the base64 text is damaged ({error})") from error


def _decode(cells: list[bytes], layout: _Layout) -> NDArray[np.float32]:
    count, raw = _raw(cells)
    wanted = count * layout.size * np.dtype(layout.dtype).itemsize
    if count < 0 or len(raw) != wanted:
        raise _RowError(f"{len(raw)} bytes for {count} rows of {layout.size} numbers, wanted {wanted}")
    rows = np.frombuffer(raw, layout.dtype).reshape(count, layout.size).astype(np.float32)
    if not np.isfinite(rows).all() or np.abs(rows).max(initial=0) > np.finfo(np.float16).max:
        raise _RowError("a feature is not a finite float16 number")
    if not _is_geometry(rows[:, -6:], layout.dtype):
        raise _RowError("the last six numbers of a row are not x1/W, y1/H, x2/W, y2/H, w/W, h/H")
    return rows


def _is_geometry(rows_N6: NDArray[Any], dtype: str) -> bool:
    numbers = rows_N6.astype(np.float64)
    if not np.isfinite(numbers).all():
        return False
    sides = numbers[:, 2:4] - numbers[:, :2]
    inside = (numbers >= -_EDGE).all() and (numbers <= 1 + _EDGE).all() and (sides >= -_TOLERANCE[dtype]).all()
    # all zero is what a wrong dtype may show; a box of no size is none
    return bool(inside and (numbers[:, 2:4] > 0).all() and np.abs(sides - numbers[:, 4:]).max() <= _TOLERANCE[dtype])


def _objects(line: bytes, record: ImageRecord) -> list[tuple[str, list[float], float]]:
    """Class name, box relative to the image's sides, score (NaN: none) of each object."""
    try:
        value = json.loads(line.split(b"\t", 1)[1])
        width, height, objects = record.width, record.height, value
        if isinstance(value, dict):
            width, height, objects = value.get("image_w", width), value.get("image_h", height), value["objects"]
        made = []
        for item in objects:
            x1, y1, x2, y2 = (float(v) for v in item["rect"])
            box = [x1 / width, y1 / height, x2 / width, y2 / height]
            made.append((str(item["class"]), box, float(item.get("conf", float("nan")))))
        return made
    except (IndexError, KeyError, TypeError, ValueError, ZeroDivisionError, AttributeError) as error:
        raise _RowError(f"not JSON with objects of class and rect ({type(error).__name__}: {error})") from error


def _join(
    boxes_N4: NDArray[np.float32], objects: list[tuple[str, list[float], float]], number: dict[str, int]
) -> tuple[NDArray[np.int32], NDArray[np.float32], int]:
    """Class and score of each row, and how many objects no row is left for; the surest objects choose first."""
    classes, scores = np.full(len(boxes_N4), -1, np.int32), np.full(len(boxes_N4), np.nan, np.float32)
    if not objects:
        return classes, scores, 0
    overlap_MN = iou_matrix([box for _, box, _ in objects], boxes_N4)
    lost = 0
    for at in np.argsort([-score for _, _, score in objects], kind="stable"):
        name, _, score = objects[at]
        row = int(overlap_MN[at].argmax()) if len(boxes_N4) else -1
        if row < 0 or overlap_MN[at, row] < SAME_BOX:
            lost += 1
            continue
        classes[row], scores[row] = number[name], score
        overlap_MN[:, row] = -1
    return classes, scores, lost
