"""VQA v2: questions and their ten answers; or the questions alone, as texts for pre-training.

Roles: `questions` (`{"questions": [{question_id, image_id, question}]}`) and `annotations` (`{"annotations":
[{question_id, answers: [{answer}], answer_type, question_type, multiple_choice_answer}]}`), one file each or one a
split. Rows are indices in the questions' list. As `vqa_v2_questions` only the role `questions` is read: texts, or
questions whose answers an evaluation server keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vlp.data.readers.common import (
    BadRecord,
    LeftOut,
    Once,
    check_whole,
    field,
    image_in,
    number_in,
    read_list,
    text_of,
)
from vlp.data.readers.gather import ONLY_SPLIT
from vlp.data.readers.images import Caption, Entry
from vlp.data.readers.job import Job
from vlp.data.readers.source import Files
from vlp.data.tables import QUESTION

ROLES = ("questions", "annotations")
TEXT_ROLES = ("questions",)
ANSWER_TYPES = ("yes/no", "number", "other")
NUM_ANSWERS = 10
_COMMON = "multiple_choice_answer"


def read_texts(files: Files) -> list[Entry]:
    """The questions of each image, which is known by its number."""
    found: dict[int, Entry] = {}
    once = Once("question id")
    for split, path in files.of("questions"):
        for row, record in enumerate(read_list(path, "questions")):
            with files.report.record("captions", path, row):
                number, key = number_in(record, "image_id"), once(field(record, "question_id", int, str))
                text = text_of(record, "question", "question")
                entry = found.setdefault(number, Entry(path, row, (), number, split or ONLY_SPLIT))
                entry.captions.append(Caption(row, text, f"vqa{key}", QUESTION))
    return list(found.values())


def read_unanswered(job: Job) -> Iterator[dict[str, Any]]:
    """Questions of test images without answers, type or kind; of other images they are of no use and left out."""
    for _, path in job.files.of("questions"):
        for row, record in enumerate(read_list(path, "questions")):
            with job.report.record(job.table, path, row):
                key = field(record, "question_id", int, str)
                image = job.find(image_in(record, "image_id"))
                if image.split != "test":
                    raise LeftOut("question without answers outside test", f"question {key}")
                text = text_of(record, "question", "question")
                own = {"question_id": f"{job.prefix}/{job.once(key)}", "image_id": image.image_id, "text": text}
                yield {
                    **own,
                    **dict.fromkeys(("answer_type", "question_type", "answer")),
                    "answers": [],
                    "split": "test",
                }


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
                image = job.find(image_in(record, "image_id"))
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
    for answer in answers:
        check_whole(answer)
    kind = field(record, "answer_type", str)
    if kind not in ANSWER_TYPES:
        raise BadRecord("unknown answer type", f"{kind!r}, wanted {' | '.join(ANSWER_TYPES)}")
    return {
        "answer_type": kind,
        "question_type": field(record, "question_type", str),
        "answer": field(record, _COMMON, str).strip() if _COMMON in record else None,
        "answers": [a.strip() for a in answers],
    }
