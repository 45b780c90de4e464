"""Texts with masks: what is parsed, which concepts are read, which phrases are shown."""

from __future__ import annotations

import pytest

from vlp.methods.mvptr.config import Lengths
from vlp.methods.mvptr.infer.text import Reader
from vlp.phrases import tokenizer
from vlp.phrases.parser import SceneGraphParser
from vlp.phrases.vocabulary import PhraseRecord, PhraseVocabulary

CONCEPTS = [("heart", "red"), ("heart", "large"), ("heart", "above", "star"), ("star", "small"), ("people", "two")]
CAPTION = "a picture of a large red heart above a small star on a dark background, and two people"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(tokenizer.word_pieces([CAPTION], [], 1), folder)
    words = tokenizer.load(folder)
    records = tuple(
        PhraseRecord(len(words) + i, parts, "attribute" if len(parts) == 2 else "relation", 1)
        for i, parts in enumerate(CONCEPTS)
    )
    vocabulary = PhraseVocabulary(len(words) + len(records), records)
    return Reader(SceneGraphParser("en_core_web_sm"), words, vocabulary, Lengths(words=35, phrases=9), True)


def parts(reader: Reader, text: str) -> list[tuple[str, ...]]:
    return [c.parts for c in reader(text).concepts]


def test_noun_phrases_are_what_can_be_seen(reader: Reader) -> None:
    seen = reader(CAPTION)
    assert [p.text for p in seen.noun_phrases] == ["a large red heart", "a small star", "two people"]
    assert all(CAPTION[p.start : p.end] == p.text for p in seen.noun_phrases)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a red [MASK] above a small star", [("[MASK]", "red"), ("[MASK]", "above", "star"), ("star", "small")]),
        ("a [MASK] heart above a small star", [("heart", "[MASK]"), ("heart", "above", "star"), ("star", "small")]),
        ("a large [MASK] heart", [("heart", "large"), ("heart", "[MASK]")]),
        ("two [MASK] are here", [("[MASK]", "two")]),
    ],
)
def test_a_masked_word_masks_its_concepts(reader: Reader, text: str, wanted: list[tuple[str, ...]]) -> None:
    assert parts(reader, text) == wanted


def test_concepts_that_nothing_in_the_vocabulary_fits_are_left_out(reader: Reader) -> None:
    assert parts(reader, "a purple [MASK] above a small star") == [("[MASK]", "above", "star"), ("star", "small")]


def test_masked_word_is_part_of_its_noun_phrase(reader: Reader) -> None:
    text = "a large [MASK] red heart stands above a small [mask]"
    assert [p.text for p in reader(text).noun_phrases] == ["a large [MASK] red heart", "a small [MASK]"]


def test_verb_behind_a_masked_noun_is_no_noun(reader: Reader) -> None:
    phrases = reader("a big red [MASK] stands next to a small star").noun_phrases
    assert [p.text for p in phrases] == ["a big red [MASK]", "a small star"]


def test_concepts_beyond_the_cap_are_listed(reader: Reader) -> None:
    seen = Reader(reader._parser, reader._tokenizer, reader._vocabulary, Lengths(words=35, phrases=1), True)(CAPTION)
    assert len(seen.concepts) == 1 and ("star", "small") in [c.parts for c in seen.concepts_cut]
