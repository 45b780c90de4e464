"""Spans carried between two copies of a sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp.data.readers.align import carry

WORDS = st.lists(st.text("aBß'\"é(x", min_size=1, max_size=4), min_size=1, max_size=8)
BLANKS = st.lists(st.sampled_from([" ", "  ", "\t"]), min_size=9, max_size=9)


@given(WORDS, BLANKS, st.data())
def test_words_keep_their_place_whatever_the_blanks(words: list[str], blanks: list[str], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, len(words) - 1))
    source = " ".join(words)
    target = "".join(b + w for b, w in zip(blanks, words, strict=False)) + blanks[-1]
    start = len(" ".join(words[:first])) + (first > 0)
    end = len(" ".join(words[: last + 1]))
    (found,) = carry(source, [(start, end)], target)
    assert found is not None
    assert target[found[0] : found[1]].split() == words[first : last + 1]
    assert target[found[0] : found[1]].strip() == target[found[0] : found[1]]


@pytest.mark.parametrize(
    ("source", "phrase", "target", "expected"),
    [
        ("A man , smiling .", "A man", "A man, smiling.", "A man"),
        ("He says `` hi '' now", "`` hi ''", 'He says "hi" now', '"hi"'),
        ("a dog -LRB- brown -RRB- runs", "-LRB- brown -RRB-", "A dog (brown) runs", "(brown)"),
        ("a dog (brown) runs", "(brown)", "A dog -LRB- brown -RRB- runs", "-LRB- brown -RRB-"),
        ("a girl 's hat", "a girl 's", "A girl's hat", "A girl's"),
        ("Two men in hats run fast", "in hats", "Two young men in hats run", "in hats"),
    ],
)
def test_quotes_brackets_case_and_other_words(source: str, phrase: str, target: str, expected: str) -> None:
    start = source.index(phrase)
    (found,) = carry(source, [(start, start + len(phrase))], target)
    assert found is not None
    assert target[found[0] : found[1]] == expected


def test_a_phrase_whose_words_differ_is_not_carried() -> None:
    source, target = "Two men in hats run", "Two old men in caps run"
    assert carry(source, [(0, 7), (8, 15), (16, 19)], target) == [None, None, (20, 23)]
