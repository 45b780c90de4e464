"""OpenImages: its list of images, and the labels that people verified.

Roles of `openimages`: `images`, CSV with a header that has ImageID, and OriginalLandingURL or OriginalURL (Flickr's
address) where known; one file or one a split. The images have no captions: name a source of `texts`
(`captions_jsonl`, which `vlp data caption` writes, or `localized_narratives`).
Roles of `openimages_labels`: `labels`, CSV ImageID, Source, LabelName, Confidence, one file or one a split; `classes`,
CSV LabelName, DisplayName. Confidence 1: people found the class in the image; 0: they found that it is not there, which
is left out; so are a machine's own labels. Rows are line numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlp.data.class_names import class_name
from vlp.data.readers.common import BadRecord, LeftOut, Report, cells
from vlp.data.readers.gather import Gathered
from vlp.data.readers.images import Entry
from vlp.data.readers.job import Job
from vlp.data.readers.origins import Origin, flickr_id
from vlp.data.readers.source import Files
from vlp.errors import InputError

ROLES = ("images",)
LABEL_ROLES = ("labels", "classes")


def read(files: Files) -> list[Entry]:
    found = Gathered()
    seen: set[str] = set()
    for split, path in files.of("images"):
        for row, record in _records(path, files.report, "images", ("ImageID",)):
            with files.report.record("images", path, row):
                name = record["ImageID"]
                if not name:
                    raise BadRecord("malformed record", "no ImageID")
                if name in seen:
                    raise BadRecord("duplicate image", name)
                seen.add(name)
                addresses = (record.get(column, "") for column in ("OriginalLandingURL", "OriginalURL"))
                photo = next((p for a in addresses if (p := flickr_id(a)) is not None), None)
                found.image(path, row, f"{name}.jpg", split, Origin(flickr_id=photo))
    return found.entries


def read_labels(job: Job) -> Iterator[dict[str, Any]]:
    names = _class_names(job)
    seen: set[str] = set()
    for _, path in job.files.of("labels"):
        for row, record in _records(path, job.report, job.table, ("ImageID", "Source", "LabelName", "Confidence")):
            with job.report.record(job.table, path, row):
                image = job.find(record["ImageID"])
                if "machine" in record["Source"]:
                    raise LeftOut("label of a machine")
                present = _confidence(record["Confidence"])
                if present not in (0.0, 1.0):
                    raise BadRecord("malformed record", f"Confidence {record['Confidence']!r}, wanted 0 or 1")
                if not present:
                    raise LeftOut("class that is not in the image")
                if record["LabelName"] not in names:
                    raise BadRecord("unknown class", record["LabelName"])
                key = f"{image.image_id}/{record['LabelName']}"
                if key in seen:
                    raise LeftOut("label that was verified twice")
                seen.add(key)
                yield {
                    "label_id": key,
                    "image_id": image.image_id,
                    "class_name": names[record["LabelName"]],
                    "split": image.split,
                }


def _class_names(job: Job) -> dict[str, str]:
    """Machine id -> name, lower case as the detectors' class names are."""
    names: dict[str, str] = {}
    for _, path in job.files.of("classes"):
        for row, (label, name, *_) in cells(path, job.report, job.table, least=2, comma=True):
            with job.report.record(job.table, path, row):
                if label == "LabelName":
                    continue
                name = class_name(name)
                if not label or name is None:
                    raise BadRecord("malformed record", "a class without id or name")
                if label in names:
                    raise BadRecord("duplicate class", label)
                names[label] = name
    return names


def _confidence(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _records(path: Path, report: Report, table: str, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV file with a header, by the names of its columns."""
    header: list[str] | None = None
    for row, found in cells(path, report, table, least=1, comma=True):
        if header is None:
            header = found
            if lacking := sorted(set(needed) - set(header)):
                remedy = "Check that the file has the format named in the config."
                raise InputError(path, f"the header has no column {', '.join(lacking)}.", remedy, row=row)
            continue
        with report.record(table, path, row):
            if len(found) != len(header):
                raise BadRecord("malformed record", f"{len(found)} cells, wanted {len(header)}")
            yield row, dict(zip(header, found, strict=True))
