"""Localized Narratives: JSON lines `{dataset_id, image_id, annotator_id, caption, ...}`: long spoken descriptions.

Role: `captions`, one file or one a split. The traces and timed words are not read. Rows are line numbers.
"""

from __future__ import annotations

from vlp.data.readers.common import Once, field, image_in, json_lines, text_of
from vlp.data.readers.gather import Gathered
from vlp.data.readers.images import Entry
from vlp.data.readers.source import Files

ROLES = ("captions",)


def read(files: Files) -> list[Entry]:
    found, once = Gathered(), Once("narrative")
    for split, path in files.of("captions"):
        for row, record in json_lines(path, files.report, "captions"):
            with files.report.record("captions", path, row):
                image = str(image_in(record, "image_id"))
                annotator = field(record, "annotator_id", str, int)
                text = text_of(record, "caption", "caption")
                once(f"{image}/{annotator}/{text}")
                found.add(path, row, f"{image}.jpg", split, text, key=f"ln{row}")
    return found.entries
