"""RefCOCO, RefCOCO+, RefCOCOg: refs `[{ref_id, ann_id, image_id, split, sentences: [{sent_id, raw, sent}]}]`, the
official pickle (`refs(unc).p`, read without running what it may hold) or JSON, and the COCO instances with their boxes.

Roles: `refs` and `instances`, one file each or one a split. One record for each sentence, its id is
`ref_id#place`; the text is `raw`, else `sent`. Rows are indices in the list of refs. The split is the ref's own, by
`split.rename`, where testA and testB are `test` unless it names them: the same photos have other splits for other
tasks, and Karpathy's train holds all of RefCOCO's test images. A ref without a split has that of its image.
As the captions source of a data set of its own it gives the images of the refs, without a caption.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlp.data.readers.coco_instances import Instances, load
from vlp.data.readers.common import BadRecord, LeftOut, field, list_in, number_in, read_list, text_of
from vlp.data.readers.gather import Gathered
from vlp.data.readers.images import Entry
from vlp.data.readers.job import Job
from vlp.data.readers.losses import UNNAMED_SPLIT
from vlp.data.readers.origins import of_file
from vlp.data.readers.pickles import read_pickle
from vlp.data.readers.source import Files
from vlp.data.tables import SPLITS

ROLES = ("refs", "instances")
TESTS = {"testA": "test", "testB": "test"}
"""RefCOCO's and RefCOCO+'s test sets: people, and other things."""


def read_images(files: Files) -> list[Entry]:
    """The images of the refs; one whose refs are of several splits has the last of train, val, test: held out."""
    rename = files.place.settings.split.rename
    names = {n: name for file in load(files, "images") for n, (name, _) in file.images.items()}
    found: dict[int, Entry] = {}
    gathered = Gathered()
    for _, path in files.of("refs"):
        for row, record in enumerate(_refs(path)):
            with files.report.record("images", path, row):
                number, own = number_in(record, "image_id"), str(field(record, "split", str))
                if number not in names:
                    raise BadRecord("unknown image", f"image_id {number} is in no instances file")
                split = own if own in rename else TESTS.get(own) or own
                name = names[number]
                entry = found.get(number)
                if entry is None:
                    found[number] = gathered.image(path, row, name, split, of_file(name), number)
                elif entry.split != split:
                    files.report.change("images", path, "image with refs of several splits, held out")
                    entry.split = max((entry.split, split), key=lambda s: SPLITS.index(rename.get(s, "train")))
    return gathered.entries


def _refs(path: Path) -> list[Any]:
    if path.suffix in (".p", ".pkl"):
        return list_in(read_pickle(path), path, None)
    return read_list(path, None)


def read(job: Job) -> Iterator[dict[str, Any]]:
    boxes: dict[int, tuple[Instances, Any]] = {}
    for file in load(job.files, job.table):
        for annotation in file.annotations:
            if isinstance(annotation, dict) and isinstance(annotation.get("id"), int):
                boxes.setdefault(annotation["id"], (file, annotation))
    for _, path in job.files.of("refs"):
        for row, record in enumerate(_refs(path)):
            with job.report.record(job.table, path, row, unit="ref"):
                key = job.once(field(record, "ref_id", int, str))
                number, annotation_id = number_in(record, "image_id"), field(record, "ann_id", int)
                if annotation_id not in boxes:
                    raise BadRecord("no such annotation", f"ann_id {annotation_id} is in no instances file")
                file, annotation = boxes[annotation_id]
                image = file.image(number, job)
                if number_in(annotation, "image_id") != number:
                    raise BadRecord("the annotation is of another image", f"ann_id {annotation_id}")
                partition, split = _split(record, image.split, job)
                job.report.split = split
                box = job.fit_coco(annotation, image, file.size(number), path)
                sentences = field(record, "sentences", list)
                if not sentences:
                    raise BadRecord("no sentence")
                for place, sentence in enumerate(sentences):
                    with job.report.record(job.table, path, f"{row}, sentence {place}"):
                        raw = isinstance(sentence, dict) and "raw" in sentence
                        text = text_of(sentence, "raw" if raw else "sent", "expression")
                        yield {
                            "ref_id": f"{job.prefix}/{key}#{place}",
                            "image_id": image.image_id,
                            "text": text,
                            "box": box,
                            "partition": partition,
                            "split": split,
                        }


def _split(record: dict[str, Any], of_image: str, job: Job) -> tuple[str, str]:
    """The ref's own name of its split, and ours for it."""
    if "split" not in record:
        return of_image, of_image
    own = field(record, "split", str)
    split = (TESTS | job.files.place.settings.split.rename).get(own)
    if split is None:
        raise LeftOut(f"{UNNAMED_SPLIT}{own!r} is not in {job.files.place.where}.split.rename")
    return own, split
