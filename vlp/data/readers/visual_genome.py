"""Visual Genome: questions as texts for pre-training, `[{id, qas: [{qa_id, image_id, question, answer}]}]`.

Roles: `questions` (question_answers.json), one file or one a split; optional `images` (image_data.json,
`[{image_id, coco_id, flickr_id}]`): which photo of COCO and Flickr an image is. The answer is not read: pre-training
sees the question alone. Rows are indices in the list; a question's row names its place in `qas` too. An image file is
called by its number; Visual Genome's lie in two folders.
"""

from __future__ import annotations

from vlp.data.readers.common import BadRecord, Once, field, number_in, read_list, text_of
from vlp.data.readers.gather import Gathered
from vlp.data.readers.images import Entry
from vlp.data.readers.origins import Origin
from vlp.data.readers.source import Files
from vlp.data.tables import QUESTION

ROLES = ("questions",)
OPTIONAL = ("images",)


def read(files: Files) -> list[Entry]:
    known = read_origins(files)
    found, once = Gathered(), Once("question id")
    for split, path in files.of("questions"):
        for row, record in enumerate(read_list(path, None)):
            with files.report.record("captions", path, row):
                number = number_in(record, "id")
                origin = known.get(str(number), Origin(vg_id=str(number)))
                found.image(path, row, f"{number}.jpg", split, origin)
                for place, question in enumerate(field(record, "qas", list)):
                    where = f"{row}, question {place}"
                    with files.report.record("captions", path, where):
                        other = number_in(question, "image_id")
                        if other != number:
                            raise BadRecord("unknown image", f"image_id {other} among the questions of {number}")
                        key = once(field(question, "qa_id", int))
                        text = text_of(question, "question", "question")
                        found.add(path, where, f"{number}.jpg", split, text, key=f"vg{key}", kind=QUESTION)
    return found.entries


def read_origins(files: Files) -> dict[str, Origin]:
    """Image number -> its ids elsewhere, of the role `images`; empty where the config names no such file."""
    known: dict[str, Origin] = {}
    for _, path in files.of("images"):
        for row, record in enumerate(read_list(path, None)):
            with files.report.record("images", path, row):
                number = str(number_in(record, "image_id"))
                if number in known:
                    raise BadRecord("duplicate image", number)
                known[number] = Origin(_id(record, "coco_id"), _id(record, "flickr_id"), number)
    return known


def _id(record: dict[str, object], name: str) -> str | None:
    """Null where the photo is not known there. Raises BadRecord: neither a number nor null."""
    value = field(record, name, int, type(None))
    return None if value is None else str(value)
