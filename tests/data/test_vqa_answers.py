"""VQA's answer list, in both published forms and by the rule that made it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.data.published import save
from vlp.data.readers.vqa_answers import frequent_answers, read_answers
from vlp.errors import InputError


def test_both_forms_of_the_list_are_the_same(tmp_path: Path) -> None:
    answers = ["net", "", "yes", "2"]
    save(tmp_path / "label2ans.json", answers)
    save(tmp_path / "ans2label.json", {a: answers.index(a) for a in sorted(answers)})
    assert read_answers(tmp_path / "label2ans.json") == read_answers(tmp_path / "ans2label.json") == answers


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"yes": 0, "no": 2}, "the labels of 2 answers are not 0 to 1"),
        ({"yes": 0, "no": 0}, "the labels of 2 answers are not 0 to 1"),
        (["yes", "no", "yes"], "row 0: the answer 'yes' comes twice"),
        (["yes", 2], "not a list of answers"),
        ([], "not a list of answers"),
        ("yes", "not a list of answers"),
    ],
)
def test_a_damaged_list_is_refused(tmp_path: Path, value: Any, problem: str) -> None:
    save(tmp_path / "a.json", value)
    with pytest.raises(InputError, match=problem):
        read_answers(tmp_path / "a.json")


def test_an_answer_counts_once_a_question() -> None:
    def question(common: str | None, *ten: str) -> dict[str, Any]:
        return {"answer": common, "answers": list(ten)}

    asked = [question("Yes", *["no"] * 10)] * 3 + [question(None, *["2"] * 6, *["two"] * 4)] * 2 + [question("a", "a")]
    assert frequent_answers(asked, 2) == ["yes", "2"]
    assert frequent_answers(asked, 1) == ["yes", "2", ""]  # articles are no answer
    assert frequent_answers(asked, 4) == []
