"""Answers are compared as the public evaluation of VQA compares them."""

from __future__ import annotations

import pytest

from vlp.data import answers


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("The Dog", "dog"),
        ("two dogs and a cat", "2 dogs and cat"),
        ("None", "0"),
        ("ten", "10"),
        ("1,000", "1000"),
        ("1,000-2,000", "10002000"),  # a comma in a number: every mark vanishes
        ("black/white", "black white"),
        ("black / white", "black white"),
        ("hello!", "hello"),
        ("yes, it is.", "yes it is"),
        ("3.5", "3.5"),
        ("dr. who", "dr who"),
        ("dont know", "don't know"),
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("it's 5 oclock", "it's 5 o'clock"),
        (" a\tb\nc ", "b c"),
        ("", ""),
    ],
)
def test_normalise_answer(text: str, wanted: str) -> None:
    assert answers.normalise_answer(text) == wanted


def test_contractions_come_from_leaving_out_one_apostrophe() -> None:
    for key, word in answers.CONTRACTIONS.items():
        assert len(key) == len(word) - 1 and key.replace("'", "") == word.replace("'", "")
    assert answers.CONTRACTIONS["yall'd've"] == answers.CONTRACTIONS["y'alld've"] == "y'all'd've"
    assert "hell" not in answers.CONTRACTIONS and "well" not in answers.CONTRACTIONS
