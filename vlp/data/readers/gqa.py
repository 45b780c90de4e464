"""GQA: questions as texts for pre-training, `{question id: {imageId, question, answer, ...}}`.

Roles: `questions` (train_balanced_questions.json), one file or one a split; optional `images`: Visual Genome's
image_data.json, for which photo of COCO and Flickr an image is (GQA's images are Visual Genome's, under its numbers).
The answer is not read: pre-training sees the question alone. Rows are question ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlp.data.readers.common import BadRecord, Once, image_in, read_object, text_of
from vlp.data.readers.gather import Gathered
from vlp.data.readers.images import Entry
from vlp.data.readers.origins import Origin
from vlp.data.readers.source import Files
from vlp.data.readers.visual_genome import read_origins
from vlp.data.tables import QUESTION
from vlp.errors import InputError

ROLES = ("questions",)
OPTIONAL = ("images",)


def read(files: Files) -> list[Entry]:
    """
    Raises:
        InputError: a file is no JSON object of questions.
    """
    known = read_origins(files)
    found, once = Gathered(), Once("question id")
    for split, path in files.of("questions"):
        for number, record in _questions(path):
            with files.report.record("captions", path, number):
                once(number)
                image = str(image_in(record, "imageId"))
                if not image or "/" in image:
                    raise BadRecord("malformed record", f"imageId {image!r}")
                text = text_of(record, "question", "question")
                origin = known.get(image, Origin(vg_id=str(int(image))) if image.isdecimal() else Origin())
                found.add(path, number, f"{image}.jpg", split, text, key=f"gqa{number}", kind=QUESTION, origin=origin)
    return found.entries


def _questions(path: Path) -> Iterator[tuple[str, Any]]:
    value = read_object(path, pairs=_slim)
    if not isinstance(value, list) or not all(isinstance(pair, tuple) for pair in value):
        raise InputError(
            path, "a JSON object of questions is wanted.", "Check that the file has the format named in the config."
        )
    yield from value


def _slim(pairs: list[tuple[str, Any]]) -> Any:
    """Keeps of a question what is read (its program is nine tenths of the file), and of the whole the pairs: a dict
    would lose all but the last of two questions with one id."""
    record = dict(pairs)
    if "question" in record or "imageId" in record:
        return {name: record[name] for name in ("question", "imageId") if name in record}
    return pairs if any(isinstance(value, dict | list) for value in record.values()) else record
