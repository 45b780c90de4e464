"""Import the region files of VinVL and Oscar: features.tsv and predictions.tsv -> a region store.

features.tsv: id, number of rows N, base64 of N rows, float32 or float16, little-endian: D features, then x1/W, y1/H,
x2/W, y2/H, w/W, h/H. predictions.tsv: id, JSON {image_h, image_w, objects: [{class, rect, conf, attr, attr_conf}],
gt_objects: [{class}]} (or the bare list of objects); rect = xyxy pixels. Where *.lineidx (the byte offset of each line)
and imageid2idx.json (id -> line) stand beside them, they are compared: a file that was cut off between two lines, or
exchanged, is named. Files are read line by line: memory does not grow with the features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vlp.errors import InputError
from vlp.files import read_json
from vlp.images.decode import ImageRecord, Skipped
from vlp.images.names import Names, both_sides
from vlp.progress import Meter
from vlp.regions.geometry import clip
from vlp.regions.quality import by_split
from vlp.regions.store import RegionWriter
from vlp.regions.tsv_forms import of_folder
from vlp.regions.tsv_lines import REMEDY, check_number, id_of, lines, name_in, raw_lines
from vlp.regions.tsv_losses import Losses
from vlp.regions.tsv_objects import Prediction, join, prediction
from vlp.regions.tsv_rows import Layout, RowError, decode, find_layout
from vlp.tracking.run import code_version

NAMES_FILE = "regions.json"
"""Beside the two files if `vlp regions export` wrote them: the store's facts and the order of its names."""
MAX_LOST = 0.2
_SHOWN = 100
_NAMES_SHOWN = 4
_COUNTED = (
    "not_in_tables",
    "without_predictions",
    "objects",
    "objects_without_row",
    "objects_without_name",
    "truth_left_out",
)
"""The last: images whose gt_objects are not kept, as they are not of train."""


@dataclass(frozen=True)
class _Index:
    """What predictions.tsv holds: byte offset of each wanted image's line, all names."""

    places: dict[str, tuple[int, int]]
    """And the line's number, from 1"""
    class_names: list[str]
    attribute_names: list[str]


@dataclass(frozen=True)
class _Source:
    """One data set's folder of the two files."""

    features: Path
    prefix: str
    wanted: dict[str, ImageRecord]
    names: Names
    index: _Index
    facts: dict[str, Any] | None
    layout: Layout

    @property
    def folder(self) -> Path:
        return self.features.parent

    @property
    def predictions(self) -> Path:
        return self.folder / "predictions.tsv"


@dataclass
class _Tally:
    """What became of the lines."""

    counts: dict[str, int]
    seen: set[str]
    without: list[str]
    other_size: list[dict[str, Any]]
    others: list[str] = field(default_factory=list)
    """Names of the first lines of a file that are no image of ours"""


def import_tsv(
    folder: Path, images: Sequence[ImageRecord], prefix: str, out: Path, skipped: Skipped, max_lost: float = MAX_LOST
) -> dict[str, Any]:
    """As `import_sets`, of one data set: the files' `1000268201` is our `flickr30k/1000268201`."""
    return import_sets({prefix: folder}, images, out, skipped, max_lost)


def import_sets(
    folders: Mapping[str, Path],
    images: Sequence[ImageRecord],
    out: Path,
    skipped: Skipped,
    max_lost: float = MAX_LOST,
) -> dict[str, Any]:
    """Write the store `out` with the rows of those `images` that the files have -> quality.json's content.

    Rows that no object of predictions.tsv belongs to get class -1 and score NaN and stand last, in the file's order.
    Boxes are in the pixels of `images`, which are the image files' own; where predictions.tsv annotates another size,
    its rects are read in the size in which more of them find their row, and the image is listed under `other_size`.
    gt_objects are kept for train images only: they serve pre-training.

    Args:
        folders: name of each data set -> its folder with features.tsv and predictions.tsv; or the former itself, which
            may then have another name.
        max_lost: share of a data set's images, objects and names, in all and of each split, that may be lost.

    Raises:
        InputError: a file is missing or is no such file; an id comes twice, or fits several images; no image of a
            data set, or of a split of it, is in its files, or
            more is lost than `max_lost`; the data sets' features differ in size; a line is bad or an image is missing
            and `skipped` says stop; the disk is full.
    """
    sources = [_open(folder, prefix, images) for prefix, folder in folders.items()]
    size = sources[0].layout.size
    for source in sources[1:]:
        if source.layout.size != size:
            problem = f"rows have {source.layout.size} numbers, those of {sources[0].features} have {size}."
            raise InputError(source.features, problem, "Regions of one experiment come from one detector.")
    index = sources[0].index if len(sources) == 1 else _joined([source.index for source in sources])
    dtypes = sorted({"float32" if source.layout.dtype == "<f4" else "float16" for source in sources})
    facts = sources[0].facts if len(sources) == 1 else None
    if facts is None:
        facts = {
            "detector": "VinVL TSV",
            "weights_sha256": "unknown",
            "score_threshold": "unknown",
            "source_dtype": ", ".join(dtypes),
            "code_version": code_version(),
        }
    tally = _Tally(dict.fromkeys(_COUNTED, 0), set(), [], [])
    with (
        Meter("import regions", sum(len(source.wanted) for source in sources), "images") as meter,
        RegionWriter(out, size - 6, index.class_names, facts, index.attribute_names) as writer,
    ):
        for source in sources:
            before, told = writer.images, len(skipped.images)
            tally.others.clear()
            losses = _import_lines(source, index, writer, tally, meter, skipped)
            for record in source.wanted.values():
                if record.image_id not in tally.seen:
                    skipped.add(record, source.features, "the image is not in the file")
            if tally.others and max_lost < 1:
                _demand_each_split(source, tally)
            if writer.images == before:
                remedy = f"The ids must be those after `{source.prefix}/`."
                first = skipped.images[told]["reason"] if len(skipped.images) > told else "no image is asked for"
                sides = both_sides(tally.others, source.wanted)
                problem = f"it has none of the images of the tables: {first} ({sides})."
                raise InputError(source.features, problem, remedy)
            reasons = [image["reason"] for image in skipped.images[told:]]
            losses.check(source.folder, source.wanted.values(), reasons, max_lost)
    return {
        "splits": by_split(out, {record.image_id: record.split for record in images}, ()),
        "tsv": {"row": size, "dtype": ", ".join(dtypes), **tally.counts, "other_size": len(tally.other_size)},
        "other_size": tally.other_size[:_SHOWN],
        "without_detection": tally.without,
        "skipped": skipped.images,
    }


def _demand_each_split(source: _Source, tally: _Tally) -> None:
    """Raises InputError: of a split that has images the file has none."""
    ids: dict[str, list[str]] = {}
    for record in source.wanted.values():
        ids.setdefault(record.split, []).append(record.image_id)
    for split, ours in ids.items():
        if tally.seen.isdisjoint(ours):
            which = f"{len(ours):,} {split} images".replace("  ", " ")
            problem = f"it has none of the {which} of the tables ({both_sides(tally.others, ours)})."
            remedy = f"The ids must be those after `{source.prefix}/`, or name the same files."
            raise InputError(source.features, problem, remedy)


def _open(folder: Path, prefix: str, images: Sequence[ImageRecord]) -> _Source:
    features = folder if folder.suffix == ".tsv" else folder / "features.tsv"
    folder = features.parent
    if not features.exists() and (form := of_folder(folder)) is not None:
        raise InputError(features, f"the file is missing; the folder looks like {form[0]}.", form[1])
    wanted = {record.image_id: record for record in images if record.image_id.startswith(f"{prefix}/")}
    names = Names(wanted, prefix)
    index, facts = _named(folder, _index_predictions(folder / "predictions.tsv", names, wanted))
    return _Source(features, prefix, wanted, names, index, facts, find_layout(features))


def _joined(indices: Sequence[_Index]) -> _Index:
    classes = sorted({name for index in indices for name in index.class_names})
    return _Index({}, classes, sorted({name for index in indices for name in index.attribute_names}))


def _import_lines(
    source: _Source, index: _Index, writer: RegionWriter, tally: _Tally, meter: Meter, skipped: Skipped
) -> Losses:
    """Add the rows of one data set; `index` has the names of all."""
    classes_of = {name: i for i, name in enumerate(index.class_names)}
    attributes_of = {name: i for i, name in enumerate(index.attribute_names)}
    numbers = source.folder / "imageid2idx.json"
    rows_of_ids = read_json(numbers) if numbers.exists() else {}
    counts, places, losses = tally.counts, source.index.places, Losses()
    own = source.facts is not None
    with source.predictions.open("rb") as predicted:
        for row, name, cells in lines(source.features):
            check_number(source.folder, rows_of_ids, cells[0], row)
            image_id = id_of(source.names, source.features, row, name)
            if image_id is None:
                tally.others += [name] * (len(tally.others) < _NAMES_SHOWN)
                counts["not_in_tables"] += 1
                continue
            record = source.wanted[image_id]
            if image_id in tally.seen:
                problem = f"the id {image_id} comes twice (as {name!r:.60})."
                raise InputError(source.features, problem, "Remove one of the two.", row=row)
            tally.seen.add(image_id)
            meter.advance(1)
            size = (record.width, record.height)
            line, file, number = Prediction([], size, None), source.features, row
            try:
                rows = decode(cells, source.layout)
                if not len(rows):
                    raise RowError("the image has no regions")
                if image_id in places:
                    file, (place, number) = source.predictions, places[image_id]
                    predicted.seek(place)
                    line = prediction(predicted.readline(), record, own)
                else:
                    counts["without_predictions"] += 1
            except RowError as bad:
                skipped.add(record, file, f"line {number}: {bad}")
                continue
            if line.size != size:
                tally.other_size.append({"image_id": image_id, "annotated": list(line.size), "real": list(size)})
            taken = join(rows[:, -6:-2], line, size)
            losses.add(record, rows[:, -6:-2], line, taken)
            counts["objects"] += len(line.objects)
            counts["objects_without_row"] += len(line.objects) - sum(found is not None for found in taken)
            counts["objects_without_name"] += sum(o.name is None for o in line.objects)
            if not any(taken):
                tally.without.append(image_id)
            counts["truth_left_out"] += line.truth is not None and record.split != "train"
            boxes = clip(rows[:, -6:-2].astype(np.float64) * (*size, *size), *size)
            writer.add(
                image_id,
                size,
                rows[:, :-6],
                boxes,
                [-1 if o is None or o.name is None else classes_of[o.name] for o in taken],
                [np.nan if o is None else o.score for o in taken],
                [-1 if o is None or o.attribute is None else attributes_of[o.attribute] for o in taken],
                [np.nan if o is None else o.attribute_score for o in taken],
                truth=line.truth if record.split == "train" else None,
            )
    return losses


def _index_predictions(path: Path, called: Names, wanted: dict[str, ImageRecord]) -> _Index:
    places: dict[str, tuple[int, int]] = {}
    own = (path.parent / NAMES_FILE).exists()
    names: set[str] = set()
    attributes: set[str] = set()
    for row, place, line in raw_lines(path):
        image_id = id_of(called, path, row, name_in(line.split(b"\t", 1)[0]))
        if image_id is None:
            continue
        if image_id in places:
            raise InputError(path, f"the id {image_id} comes twice.", "Remove one of the two.", row=row)
        places[image_id] = place, row
        try:
            objects = prediction(line, wanted[image_id], own).objects
        except RowError:
            continue  # told where the image is left out
        names.update(o.name for o in objects if o.name is not None)
        attributes.update(o.attribute for o in objects if o.attribute is not None)
    return _Index(places, sorted(names), sorted(attributes))


def _named(folder: Path, index: _Index) -> tuple[_Index, dict[str, Any] | None]:
    """The index with the names, in their order, of an exported folder; and that store's facts."""
    path = folder / NAMES_FILE
    if not path.exists():
        return index, None
    value = read_json(path)
    try:
        classes, attributes, facts = list(value["class_names"]), list(value["attribute_names"]), dict(value["facts"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(path, f"not the file of an exported store ({error}).", REMEDY) from error
    strange = sorted({*index.class_names} - {*classes} | {*index.attribute_names} - {*attributes})
    if strange:
        remedy = "Remove it: names are then those of predictions.tsv."
        raise InputError(path, f"it does not know the name {strange[0]!r} of predictions.tsv.", remedy)
    facts.pop("format", None)
    return _Index(index.places, classes, attributes), facts
