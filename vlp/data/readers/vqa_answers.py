"""The answers that VQA is a choice of: the published list, or those that are frequent enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vlp.data.answers import normalise_answer
from vlp.data.readers.common import read_object
from vlp.errors import InputError

_REMEDY = "Name trainval_label2ans.json (a list) or trainval_ans2label.json (answer: label)."


def read_answers(path: Path) -> list[str]:
    """The answers in the order of their labels, of either published form.

    Raises:
        InputError: the file is missing, not JSON or of another form; labels are not 0, 1, 2, ...; one comes twice.
    """
    value = read_object(path)
    if isinstance(value, dict):
        if sorted(value.values(), key=str) != sorted(range(len(value)), key=str):
            raise InputError(path, f"the labels of {len(value)} answers are not 0 to {len(value) - 1}.", _REMEDY)
        value = sorted(value, key=lambda answer: value[answer])
    if not isinstance(value, list) or not value or not all(isinstance(answer, str) for answer in value):
        raise InputError(path, "not a list of answers.", _REMEDY)
    if len(set(value)) != len(value):
        twice = next(answer for answer, count in Counter(value).items() if count > 1)
        raise InputError(path, f"the answer {twice!r} comes twice.", _REMEDY, row=value.index(twice))
    return value


def frequent_answers(questions: Iterable[Mapping[str, Any]], minimum: int) -> list[str]:
    """Answers that are the common one of at least `minimum` questions, most frequent first, then by name.

    The common answer of a question is the one that the data set names; where it names none, the most frequent of the
    ten. With 9 and the questions of train and val this is the rule that gives VQA v2's 3,129.
    """
    counts: Counter[str] = Counter()
    for question in questions:
        common = question.get("answer")
        if common is None:
            common = Counter(map(normalise_answer, question["answers"])).most_common(1)[0][0]
        counts[normalise_answer(common)] += 1
    kept = [answer for answer, count in counts.items() if count >= minimum]
    return sorted(kept, key=lambda answer: (-counts[answer], answer))
