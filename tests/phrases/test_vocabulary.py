from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp.errors import InputError
from vlp.phrases import tokenizer, vocabulary
from vlp.phrases.graph import Phrase
from vlp.phrases.vocabulary import PhraseRecord, PhraseVocabulary

PHRASES = [
    Phrase("attribute", ("star", "red"), ((0, 1),)),
    Phrase("attribute", ("ring", "big"), ((2, 3),)),
    Phrase("relation", ("star", "in", "ring"), ((0, 3),)),
]
sentences_of = st.lists(st.lists(st.sampled_from(PHRASES), max_size=4), max_size=30)


@given(sentences_of, st.integers(1, 5), st.integers(1, 1000))
def test_counts_sentences_and_orders_by_count_then_parts(sentences: list[list[Phrase]], least: int, first: int) -> None:
    found = vocabulary.build(sentences, least, first)
    counts = Counter(p.parts for s in sentences for p in set(s))
    assert {r.parts: r.count for r in found.records} == {p: n for p, n in counts.items() if n >= least}
    assert [(-(r.count or 0), r.parts) for r in found.records] == sorted(
        (-(r.count or 0), r.parts) for r in found.records
    )
    assert [r.id for r in found.records] == list(range(first, found.rows))
    assert all(found.id_of(r.parts) == r.id for r in found.records)


def test_a_tuple_at_other_words_is_the_same_phrase() -> None:
    again = Phrase("attribute", ("star", "red"), ((9, 12),))
    assert vocabulary.build([[PHRASES[0]], [again]], 2, 10).records == (
        PhraseRecord(10, ("star", "red"), "attribute", 2),
    )


def test_saved_and_loaded_is_equal(tmp_path: Path) -> None:
    found = vocabulary.build([PHRASES] * 3, 1, 50)
    found.save(tmp_path / "phrases.json")
    assert PhraseVocabulary.load(tmp_path / "phrases.json") == found
    assert json.loads((tmp_path / "phrases.json").read_text())["rows"] == 53


def test_single_objects_are_no_phrases() -> None:
    found = PhraseVocabulary(
        9, (PhraseRecord(7, ("star",), "object", None), PhraseRecord(8, ("star", "red"), "attribute", 1))
    )
    assert (found.id_of(["star"]), found.id_of(["star", "red"]), found.id_of(["star", "blue"])) == (None, 8, None)


def test_a_damaged_vocabulary_is_named(tmp_path: Path) -> None:
    path = tmp_path / "phrases.json"
    for text, wanted in (
        ("[]", "`rows`"),
        ('{"rows": 3, "records": [{"id": 1}]}', "row 0"),
        ('{"rows": 3, "records": [{"id": 5, "parts": ["a", "b"], "kind": "attribute", "count": 1}]}', "out of range"),
        ("{", "not valid JSON"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=wanted):
            PhraseVocabulary.load(path)


def test_a_phrase_starts_from_the_rows_of_its_words(tmp_path: Path) -> None:
    tokenizer.save(tokenizer.word_pieces(["star red ring"], [], 1), tmp_path)
    loaded = tokenizer.load(tmp_path)
    rows = vocabulary.build([PHRASES[:1]], 1, len(loaded)).word_ids(loaded)
    assert [loaded.convert_ids_to_tokens(r) for r in rows] == [["star", "red"]]
    pieces = vocabulary.parts_to_word_rows(("star", "in", "ring"), loaded)
    assert loaded.convert_ids_to_tokens(pieces) == ["star", "i", "##n", "ring"]
