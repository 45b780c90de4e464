"""Splits whose answers only an evaluation server has: the file to send, and its numbers tied to what was sent."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlp.errors import InputError
from vlp.files import read_json, sha256, to_json, write_json
from vlp.metrics.evaluation import read_predictions, task_of

FILE = "server.json"
PROTOCOL = "evaluation server"


def submission(predictions: str | Path) -> bytes:
    """VQA's answers as the server reads them: JSON `[{question_id, answer}]`, in the order of the questions' numbers.

    Where some questions have no answers here, the server asked these, and no others are sent.

    Raises:
        InputError: the predictions are not of VQA, or a question's id is no number.
    """
    if (task := task_of(predictions)) != "vqa":
        raise InputError(predictions, f"is of the task {task}; only VQA has a server.", "Name predictions of vqa.")
    rows = read_predictions(predictions, "vqa").select(["question_id", "answer", "answers"]).to_pylist()
    found = []
    for row in [row for row in rows if not row["answers"]] or rows:
        number = row["question_id"].rpartition("/")[2]
        if not number.isdecimal():
            raise InputError(
                predictions, "the question has no number.", "Read the questions of VQA v2.", row["question_id"]
            )
        found.append({"question_id": int(number), "answer": row["answer"]})
    return to_json(sorted(found, key=lambda r: r["question_id"])).encode()


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
