"""SNLI-VE: JSON lines with Flickr30K_ID, pairID, sentence2 (the hypothesis; the image is the premise), gold_label.

Role: `pairs`, one file or one a split. A pair without a gold label (`-`: the annotators did not agree) is left out
and counted. Rows are line numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vlp.config.tasks.entailment import LABELS
from vlp.data.readers.common import BadRecord, LeftOut, field, image_in, json_lines, text_of
from vlp.data.readers.job import Job

ROLES = ("pairs",)


def read(job: Job) -> Iterator[dict[str, Any]]:
    for _, path in job.files.of("pairs"):
        for row, record in json_lines(path, job.report, job.table):
            with job.report.record(job.table, path, row):
                image = job.find(str(image_in(record, "Flickr30K_ID")))
                label = field(record, "gold_label", str)
                if label == "-":
                    raise LeftOut("no gold label")
                if label not in LABELS:
                    raise BadRecord("unknown label", f"{label!r}, wanted {' | '.join(LABELS)}")
                yield {
                    "pair_id": f"{job.prefix}/{job.once(field(record, 'pairID', str, int))}",
                    "image_id": image.image_id,
                    "text": text_of(record, "sentence2", "hypothesis"),
                    "label": label,
                    "split": image.split,
                }
