"""Splits whose answers only an evaluation server has: the file to send, and its numbers tied to what was sent."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlp.errors import InputError
from vlp.files import read_json, sha256, to_json, write_json
from vlp.metrics import cells, items
from vlp.metrics.evaluation import read_predictions, task_of

FILE = "server.json"
PROTOCOL = "evaluation server"
PUBLISHED_FILE = "Name the published file of the questions, v2_OpenEnded_mscoco_*_questions.json."
ONE_SPLIT = "Predict the questions of that file: vlp task predict, with tables that were read from it."


def submission(predictions: str | Path, questions: str | Path | None = None) -> bytes:
    """VQA's answers as the server reads them: JSON `[{question_id, answer}]`, in the order of the questions' numbers.

    Where some questions have no answers here, the server asked these, and no others are sent.

    Args:
        questions: the published file of the questions; every one of them has to be answered once, and no other.

    Raises:
        InputError: the predictions are not of VQA, a question's id is no number, an answer is missing, a question is
            missing, doubled or foreign, or the file of questions cannot be read.
    """
    if (task := task_of(predictions)) != "vqa":
        raise InputError(predictions, f"is of the task {task}; only VQA has a server.", "Name predictions of vqa.")
    path, table = Path(predictions), read_predictions(predictions, "vqa")
    ids = cells.texts(path, table["question_id"], "question_id")
    cells.texts(path, table["answer"], "answer", ids)
    items.demand_once(path, ids)
    items.demand_as_said(path, items.said(path, table), ids)
    rows = table.select(["question_id", "answer", "answers"]).to_pylist()
    found: dict[int, str] = {}
    for row in [row for row in rows if not row["answers"]] or rows:
        number = row["question_id"].rpartition("/")[2]
        if not number.isdecimal():
            raise InputError(
                predictions, "the question has no number.", "Read the questions of VQA v2.", row["question_id"]
            )
        if int(number) in found:
            raise InputError(predictions, "another question has the same number.", ONE_SPLIT, row["question_id"])
        found[int(number)] = row["answer"]
    if questions is not None:
        _demand_asked(path, set(found), Path(questions))
    return to_json([{"question_id": number, "answer": found[number]} for number in sorted(found)]).encode()


def _demand_asked(predictions: Path, answered: set[int], questions: Path) -> None:
    asked = _asked(questions)
    if lacking := asked - answered:
        problem = f"answers {len(asked & answered):,} of the {len(asked):,} questions of {questions}; "
        problem += f"it lacks {items.shown(map(str, lacking))}."
        raise InputError(predictions, problem, ONE_SPLIT)
    if foreign := answered - asked:
        problem = f"answers questions that are not in {questions}: {items.shown(map(str, foreign))}."
        raise InputError(predictions, problem, ONE_SPLIT)


def _asked(questions: Path) -> set[int]:
    """Numbers of the questions of a published file: `{"questions": [{"question_id": 1, ...}]}`."""
    value = read_json(questions)
    records = value.get("questions") if isinstance(value, dict) else None
    if not isinstance(records, list) or not records:
        raise InputError(questions, "holds no list `questions`.", PUBLISHED_FILE)
    numbers: list[int] = []
    for row, record in enumerate(records, start=1):
        number = record.get("question_id") if isinstance(record, dict) else None
        if type(number) is not int:
            raise InputError(questions, f"question_id is {number!r}, no whole number.", PUBLISHED_FILE, row)
        numbers.append(number)
    items.demand_once(questions, map(str, numbers), "Fetch the file again.")
    return set(numbers)


def record(
    folder: Path,
    predictions: Path,
    sent: Path | None,
    numbers: Mapping[str, float],
    *,
    variant: str,
    dataset: str,
    split: str,
    seed: int,
) -> dict[str, Any]:
    """Add a server's answer to `folder/server.json`; the same split and predictions asked again replace it.

    Args:
        predictions: what was sent was made of these.
        sent: the file that was sent, compared with them.
        numbers: metric -> percent, as the server gave it.
        split: the server's name of it (test-dev, test-std).
        seed: of the fine-tuning, where the predictions do not name it.

    Raises:
        InputError: `sent` is not the submission of these predictions, or a number is no percentage.
    """
    body = submission(predictions)
    if sent is not None and sha256(sent) != hashlib.sha256(body).hexdigest():
        raise InputError(sent, f"was not made of {predictions}.", "Make it again: vlp results submission.")
    for metric, value in numbers.items():
        if not 0 <= value <= 100:
            raise InputError(
                predictions, f"{metric}: {value} is no percentage.", "Give what the server says, in percent."
            )
    table = read_predictions(predictions, "vqa")
    metadata = table.schema.metadata or {}
    made = {
        "task": "vqa",
        "variant": variant,
        "dataset": dataset,
        "split": split,
        "seed": int(metadata[b"seed"]) if b"seed" in metadata else seed,
        "numbers": dict(numbers),
        "n": table.num_rows,
        "predictions_sha256": sha256(predictions),
        "submission_sha256": hashlib.sha256(body).hexdigest(),
        "checkpoint_sha256": (metadata.get(b"checkpoint_sha256") or b"").decode(),
    }
    key = ("variant", "split", "predictions_sha256")
    others = [r for r in recorded(folder) if any(r[k] != made[k] for k in key)]
    write_json(folder / FILE, [*others, made])
    return made


def recorded(folder: Path) -> list[dict[str, Any]]:
    path = folder / FILE
    return read_json(path) if path.exists() else []
