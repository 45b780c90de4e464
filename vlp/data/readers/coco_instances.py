"""COCO instances: `{"images": [{id, file_name, width, height}], "annotations": [{id, image_id, category_id, bbox,
iscrowd}], "categories": [{id, name}]}`.

Role: `instances`, one file or one a split. A box around a crowd is left out and counted. Rows are indices in
`annotations`. Boxes are scaled where the image files are smaller than the annotated ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlp.data.class_names import class_name
from vlp.data.readers.boxes import MAX_SIDE
from vlp.data.readers.common import BadRecord, LeftOut, field, list_in, number_in, read_object, text_of
from vlp.data.readers.images import Image
from vlp.data.readers.job import Job
from vlp.data.readers.source import Files

ROLES = ("instances",)


@dataclass(frozen=True)
class Instances:
    """One file of instances."""

    path: Path
    annotations: list[Any]
    classes: dict[int, str]
    images: dict[int, tuple[str, tuple[float, float] | None]]
    """Number -> file name and annotated size, where the file gives them."""

    def image(self, number: int, job: Job) -> Image:
        """Found by the file name, so that it works whatever numbers the captions source uses, else by number."""
        return job.find(self.images[number][0] if number in self.images else number)

    def size(self, number: int) -> tuple[float, float] | None:
        return self.images[number][1] if number in self.images else None


def load(files: Files, table: str) -> Iterator[Instances]:
    """The files of the role `instances`; bad categories and images are counted under `table`."""
    report = files.report
    for _, path in files.of("instances"):
        value = read_object(path, _slim)
        classes: dict[int, str] = {}
        for row, record in enumerate(list_in(value, path, "categories")):
            with report.record(table, path, f"category {row}"):
                number = field(record, "id", int)
                if number in classes:
                    raise BadRecord("duplicate category", f"id {number}")
                classes[number] = _class_name(record)
        images: dict[int, tuple[str, tuple[float, float] | None]] = {}
        for row, record in enumerate(list_in(value, path, "images")):
            with report.record(table, path, f"image {row}"):
                size = (record.get("width"), record.get("height")) if isinstance(record, dict) else (None, None)
                known = all(isinstance(side, int | float) and 0 < side < MAX_SIDE for side in size)
                images[number_in(record, "id")] = (
                    text_of(record, "file_name", "file name"),
                    (float(size[0]), float(size[1])) if known else None,  # pyright: ignore[reportArgumentType]
                )
        yield Instances(path, list_in(value, path, "annotations"), classes, images)


def read(job: Job) -> Iterator[dict[str, Any]]:
    for file in load(job.files, job.table):
        for row, record in enumerate(file.annotations):
            with job.report.record(job.table, file.path, row):
                number = number_in(record, "image_id")
                image = file.image(number, job)
                if record.get("iscrowd"):
                    raise LeftOut("box around a crowd")
                category = field(record, "category_id", int)
                if category not in file.classes:
                    raise BadRecord("unknown category", f"category_id {category}")
                key = field(record, "id", int)
                yield {
                    "object_id": f"{job.prefix}/{job.once(key)}",
                    "image_id": image.image_id,
                    "class_name": file.classes[category],
                    "box": job.fit_coco(record, image, file.size(number), file.path),
                    "split": image.split,
                }


def _class_name(record: Any) -> str:
    text = text_of(record, "name", "category name")
    name = class_name(text)
    if name is None:
        raise BadRecord("category without a word", repr(text)[:40], "Put the class's name in its place.")
    return name


def _slim(record: dict[str, Any]) -> dict[str, Any]:
    record.pop("segmentation", None)  # nine tenths of COCO's file
    return record
