"""The VQA accuracy of the public evaluation: its ten-annotator rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vlp.data.answers import normalise_answer, trim
from vlp.data.tables import read_table
from vlp.errors import InputError
from vlp.metrics.measure import Evaluated, Measure, mean

if TYPE_CHECKING:
    import pyarrow as pa


EVALUATOR = "VQA, answer and annotators' answers normalised alike where these differ"
"""Stands in bundles: earlier versions normalised the answer always, and of the annotators' only the punctuation."""


def accuracy(answer: str, references: Sequence[str]) -> float:
    """min(1, matches / 3), averaged over the subsets that leave one annotator out; in [0, 1].

    As in the newest public evaluation, answer and annotators' answers are normalised alike where the annotators differ;
    where they all agree, all stay as they are, but for tabs and line ends.
    """
    given, known = trim(answer), [trim(reference) for reference in references]
    if len(set(known)) > 1:
        given, known = normalise_answer(given), [normalise_answer(reference) for reference in known]
    matches = sum(reference == given for reference in known)
    # Leaving out an annotator who agrees takes one match away.
    without = min(1.0, (matches - 1) / 3) if matches else 0.0
    others = min(1.0, matches / 3)
    return (matches * without + (len(known) - matches) * others) / len(known)


def accuracies(predictions: pa.Table) -> dict[str, float]:
    """Mean accuracy in [0, 1]: `accuracy` over all questions, `accuracy (TYPE)` by type of answer."""
    groups: dict[str, list[float]] = {"accuracy": []}
    for row in predictions.to_pylist():
        value = accuracy(row["answer"], row["answers"])
        groups["accuracy"].append(value)
        groups.setdefault(f"accuracy ({row['answer_type']})", []).append(value)
    return {name: sum(values) / len(values) for name, values in groups.items() if values}


def most_frequent(answers: Iterable[Sequence[str]]) -> str | None:
    """The answer that most annotators gave; ties go to the first in the alphabet; None without any."""
    counts = Counter(answer for references in answers for answer in references)
    return min(counts, key=lambda answer: (-counts[answer], answer)) if counts else None


def measures(e: Evaluated) -> Iterator[Measure]:
    """Chance: always the answer that is most frequent in train, overall or for the type. Questions whose answers only
    an evaluation server has are left out."""
    train = read_table(e.tables, "questions", "train").select(["answer_type", "answers"]).to_pylist()
    rows = [row for row in e.predictions.to_pylist() if row["answers"]]
    if not rows:
        raise InputError(e.path, "no question has an answer here.", "Send it: vlp results submission, then record.")
    kinds = sorted({row["answer_type"] for row in rows})
    for kind in [None, *kinds]:
        here = [row for row in rows if kind in (None, row["answer_type"])]
        guess = most_frequent(row["answers"] for row in train if kind in (None, row["answer_type"]))
        values = [100 * accuracy(row["answer"], row["answers"]) for row in here]
        chance = None if guess is None else float(np.mean([100 * accuracy(guess, r["answers"]) for r in here]))
        metric = "accuracy" if kind is None else f"accuracy ({kind})"
        yield mean("10-annotator accuracy", metric, values, [row["image_id"] for row in here], chance)
    if without := e.predictions.num_rows - len(rows):
        yield Measure("left out", "questions without answers", float(without), None, None, None, e.predictions.num_rows)
