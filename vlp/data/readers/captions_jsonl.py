"""Captions as JSON lines `{image_id, caption}`: what `vlp data caption` writes, and anyone's own texts.

Role: `captions`, one file or one a split. `image_id` is the image file's name, with or without ending, or its id here
(`openimages/0a1b`). Further fields are passed over. Rows are line numbers.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from vlp.data.readers.common import json_lines, text_of
from vlp.data.readers.gather import Gathered
from vlp.data.readers.images import Entry
from vlp.data.readers.source import Files

ROLES = ("captions",)
_ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def read(files: Files) -> list[Entry]:
    found = Gathered()
    for split, path in files.of("captions"):
        for row, record in json_lines(path, files.report, "captions"):
            with files.report.record("captions", path, row):
                name = text_of(record, "image_id", "image_id").removeprefix(f"{files.place.name}/")
                name = name if PurePosixPath(name).suffix.lower() in _ENDINGS else f"{name}.jpg"
                found.add(path, row, name, split, text_of(record, "caption", "caption"), key=_key(files, row))
    return found.entries


def _key(files: Files, row: int) -> str | None:
    """As further texts of an image they must not take the ids of its own captions."""
    return f"t{row}" if files.key == "texts" else None
