"""RefCOCO, RefCOCO+, RefCOCOg as JSON: refs `[{ref_id, ann_id, image_id, sentences: [{sent_id, raw, sent}]}]` and the
COCO instances that hold their boxes. The official `refs(unc).p` is a pickle, which may run code: save it as JSON once.

Roles: `refs` and `instances`, one file each or one a split. One record for each sentence, its id is
`ref_id#place`; the text is `raw`, else `sent`. Rows are indices in the list of refs. The split is the ref's own, by
`data.split.rename`, where testA and testB are `test` unless it names them: the same photos have other splits for other
tasks, and Karpathy's train holds all of RefCOCO's test images. A ref without a split has that of its image.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from vlp.data.readers.boxes import coco_box, fit
from vlp.data.readers.coco_instances import Instances, load
from vlp.data.readers.common import BadRecord, LeftOut, field, read_list, text_of
from vlp.data.readers.source import Job

ROLES = ("refs", "instances")
TESTS = {"testA": "test", "testB": "test"}
"""RefCOCO's and RefCOCO+'s test sets: people, and other things."""


def read(job: Job) -> Iterator[dict[str, Any]]:
    boxes: dict[int, tuple[Instances, Any]] = {}
    for file in load(job):
        for annotation in file.annotations:
            if isinstance(annotation, dict) and isinstance(annotation.get("id"), int):
                boxes.setdefault(annotation["id"], (file, annotation))
    for _, path in job.files.of("refs"):
        change = partial(job.report.change, job.table, path)
        for row, record in enumerate(read_list(path, None)):
            with job.report.record(job.table, path, row):
                key = job.once(field(record, "ref_id", int, str))
                number, annotation_id = field(record, "image_id", int), field(record, "ann_id", int)
                if annotation_id not in boxes:
                    raise BadRecord("no such annotation", f"ann_id {annotation_id} is in no instances file")
                file, annotation = boxes[annotation_id]
                image = file.image(number, job)
                if annotation.get("image_id") != number:
                    raise BadRecord("the annotation is of another image", f"ann_id {annotation_id}")
                box = fit(coco_box(annotation), image, file.size(number), change)
                partition, split = _split(record, image.split, job)
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
    split = (TESTS | job.files.data.split.rename).get(own)
    if split is None:
        raise LeftOut(f"source split {own!r} is not in data.split.rename")
    return own, split
