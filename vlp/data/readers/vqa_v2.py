"""VQA v2: questions and their ten answers.

Roles: `questions` (`{"questions": [{question_id, image_id, question}]}`) and `annotations` (`{"annotations":
[{question_id, answers: [{answer}], answer_type, question_type}]}`), one file each or one a split. The
`multiple_choice_answer` is not read: the ten answers say more. Rows are indices in the questions' list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vlp.data.readers.common import BadRecord, LeftOut, field, read_list, text_of
from vlp.data.readers.source import Job

ROLES = ("questions", "annotations")
ANSWER_TYPES = ("yes/no", "number", "other")
NUM_ANSWERS = 10


def read(job: Job) -> Iterator[dict[str, Any]]:
    annotations: dict[int | str, tuple[Path, int, Any]] = {}
    splits = set()
    for split, path in job.files.of("annotations"):
        splits.add(split)
        for row, record in enumerate(read_list(path, "annotations", _slim())):
            with job.report.record(job.table, path, row):
                key = field(record, "question_id", int, str)
                if key in annotations:
                    raise BadRecord("duplicate annotation", f"question {key}")
                annotations[key] = (path, row, record)
    asked = set()
    for split, path in job.files.of("questions"):
        for row, record in enumerate(read_list(path, "questions")):
            with job.report.record(job.table, path, row):
                key = field(record, "question_id", int, str)
                asked.add(key)
                image = job.images.find(field(record, "image_id", int, str), job.prefix)
                text = text_of(record, "question", "question")
                if key not in annotations:
                    if split is not None and None not in splits and split not in splits:
                        raise LeftOut("question of a split without annotations", f"question {key}")
                    raise BadRecord("question without an annotation", f"question {key}")
                yield {
                    "question_id": f"{job.prefix}/{job.once(key)}",
                    "image_id": image.image_id,
                    "text": text,
                    **_answers(annotations[key][2]),
                    "split": image.split,
                }
    for key, (path, row, _) in annotations.items():
        if key not in asked:
            job.report.skip(job.table, path, row, BadRecord("annotation without a question", f"question {key}"))


def _slim() -> Callable[[dict[str, Any]], Any]:
    """Makes each `{answer, answer_confidence, answer_id}` the answer itself: five million of them are in VQA v2."""
    known: dict[str, str] = {}

    def hook(record: dict[str, Any]) -> Any:
        answer = record.get("answer")
        if isinstance(answer, str) and "question_id" not in record:
            return known.setdefault(answer, answer)
        return record

    return hook


def _answers(record: dict[str, Any]) -> dict[str, Any]:
    answers = field(record, "answers", list)
    if len(answers) != NUM_ANSWERS or not all(isinstance(a, str) for a in answers):
        raise BadRecord("not ten answers", f"{len(answers)} of question {record['question_id']}")
    kind = field(record, "answer_type", str)
    if kind not in ANSWER_TYPES:
        raise BadRecord("unknown answer type", f"{kind!r}, wanted {' | '.join(ANSWER_TYPES)}")
    return {
        "answer_type": kind,
        "question_type": field(record, "question_type", str),
        "answers": [a.strip() for a in answers],
    }
