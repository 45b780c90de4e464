"""The records of an experiment: eight Parquet tables. Box = xyxy, pixels of the original image, float32.

Every id names its data set (`flickr30k/1000268201`, a caption of it `flickr30k/1000268201#2`); every table has a
`split` in train | val | test; rows are sorted by split, then id, both as strings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vlp.errors import InputError
from vlp.files import atomic

SPLITS = ("train", "val", "test")

CAPTION, QUESTION = "caption", "question"
"""Kinds of text in `captions`."""

_TEXT = pa.string()
_BOX = pa.list_(pa.float32())
_SPLIT = ("split", _TEXT)

IMAGES = pa.schema(
    [
        ("image_id", _TEXT),
        ("path", _TEXT),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("coco_id", _TEXT),
        ("flickr_id", _TEXT),
        ("vg_id", _TEXT),
        _SPLIT,
    ]
)
"""The photo's id in COCO, on Flickr, in Visual Genome: null if unknown, decimal without leading zeros."""
CAPTIONS = pa.schema([("caption_id", _TEXT), ("image_id", _TEXT), ("text", _TEXT), ("kind", _TEXT), _SPLIT])
"""The texts of pre-training. `kind`: caption, or question: that one speaks of the image but does not describe it."""
QUESTIONS = pa.schema(
    [
        ("question_id", _TEXT),
        ("image_id", _TEXT),
        ("text", _TEXT),
        ("answer_type", _TEXT),
        ("question_type", _TEXT),
        ("answer", _TEXT),
        ("answers", pa.list_(_TEXT)),
        _SPLIT,
    ]
)
"""`answer`: what the data set calls the most frequent of the ten `answers`; the answer list is counted from it. Where
only an evaluation server has the answers, `answers` is empty, the types and `answer` are null."""
ENTAILMENT = pa.schema([("pair_id", _TEXT), ("image_id", _TEXT), ("text", _TEXT), ("label", _TEXT), _SPLIT])
PHRASE_BOXES = pa.schema(
    [
        ("phrase_id", _TEXT),
        ("caption_id", _TEXT),
        ("image_id", _TEXT),
        ("text", _TEXT),
        ("start", pa.int32()),
        ("end", pa.int32()),
        ("phrase_type", _TEXT),
        ("boxes", pa.list_(_BOX)),
        _SPLIT,
    ]
)
OBJECTS = pa.schema([("object_id", _TEXT), ("image_id", _TEXT), ("class_name", _TEXT), ("box", _BOX), _SPLIT])
LABELS = pa.schema([("label_id", _TEXT), ("image_id", _TEXT), ("class_name", _TEXT), _SPLIT])
"""Classes that people found in the image as a whole; `objects` has those with a box."""
REFERRING = pa.schema(
    [("ref_id", _TEXT), ("image_id", _TEXT), ("text", _TEXT), ("box", _BOX), ("partition", _TEXT), _SPLIT]
)
"""`partition`: the data set's own name of the split; testA and testB are both `test`."""

SCHEMAS: dict[str, pa.Schema] = {
    "images": IMAGES,
    "captions": CAPTIONS,
    "questions": QUESTIONS,
    "entailment": ENTAILMENT,
    "phrase_boxes": PHRASE_BOXES,
    "objects": OBJECTS,
    "labels": LABELS,
    "referring": REFERRING,
}
"""Table name -> schema; the first column is the id."""


def table_path(folder: str | Path, name: str) -> Path:
    if name not in SCHEMAS:
        raise ValueError(f"no table {name!r}; known: {', '.join(SCHEMAS)}")
    return Path(folder) / f"{name}.parquet"


def to_table(name: str, records: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Records in the table's columns: a tenth of the memory of the dicts."""
    return pa.Table.from_pylist(list(records), schema=SCHEMAS[name])


def write_table(folder: str | Path, name: str, records: Iterable[Mapping[str, Any]]) -> int:
    """As `write_arrow`."""
    return write_arrow(folder, name, to_table(name, records))


def write_arrow(folder: str | Path, name: str, table: pa.Table) -> int:
    """Sort, write `folder/name.parquet` atomically; gives the number of rows.

    Raises:
        ValueError: two records have the same id, or a split is none of ours (readers report both before).
        InputError: the disk is full.
    """
    path, key = table_path(folder, name), SCHEMAS[name].names[0]
    if strange := set(table["split"].unique().to_pylist()) - set(SPLITS):
        raise ValueError(f"{name}: unknown split {min(strange)!r}")
    if len(table[key].unique()) != len(table):
        raise ValueError(f"{name}: {key} is not unique")
    ordered = table.sort_by([("split", "ascending"), (key, "ascending")]).combine_chunks()
    with atomic(path) as temporary:
        pq.write_table(ordered, temporary, compression="zstd")
    return len(ordered)


def read_table(folder: str | Path, name: str, split: str | None = None) -> pa.Table:
    """The table, or its rows of one split.

    Raises:
        InputError: the file is missing, damaged or of another schema.
    """
    path = table_path(folder, name)
    remedy = "Make the tables again: vlp data read."
    if split is not None and split not in SPLITS:
        raise ValueError(f"no split {split!r}; known: {', '.join(SPLITS)}")
    if not path.exists():
        raise InputError(path, "the table is missing.", remedy)
    try:
        # Not pq.read_table: its dataset machinery takes a second to import.
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(path, f"not a whole Parquet file ({error}).", remedy) from error
    if not table.schema.equals(SCHEMAS[name]):
        raise InputError(path, f"the columns are not those of `{name}` ({', '.join(SCHEMAS[name].names)}).", remedy)
    return table if split is None else table.filter(pc.equal(table["split"], pa.scalar(split)))  # pyright: ignore


def rows(
    folder: str | Path, name: str, split: str | None = None, columns: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """The rows as dicts, in the table's order, made a few thousand at a time. Errors as `read_table`."""
    table = read_table(folder, name, split)
    if columns is not None:
        table = table.select(list(columns))
    for batch in table.to_batches(max_chunksize=4096):
        yield from batch.to_pylist()
