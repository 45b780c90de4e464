from __future__ import annotations

from pathlib import Path

import pytest

from tests.phrases.conftest import MODEL
from vlp.errors import InputError
from vlp.phrases import mine
from vlp.phrases.graph import Phrase
from vlp.phrases.tables import beside_published, printed, spelled, statistics, table5, table8
from vlp.phrases.vocabulary import build
from vlp.report import published


def _phrase(*parts: str) -> Phrase:
    return Phrase("attribute" if len(parts) == 2 else "relation", parts, ())


RED, BLUE = _phrase("dog", "red"), _phrase("dog", "blue")
ON, RARE = _phrase("dog", "sit on", "mat"), _phrase("cat", "odd")
TEXTS = [("a/0", [RED, RED, ON]), ("a/0", [RED, BLUE]), ("a/1", [RARE]), ("a/2", []), ("a/2", [RED, ON])]
PAPER = printed(published.table("mvptr", "5"), published.table("mvptr", "8"))
VOCABULARY = build([[RED], [BLUE], [ON]], 1, 10)


def test_statistics_by_hand() -> None:
    s = statistics(TEXTS, VOCABULARY)
    # red in 3 texts, on in 2, blue in 1; the rare one is not in the vocabulary
    assert (s.texts, s.images, s.all, s.unique) == (5, 3, 6, 3)
    assert (s.texts_with_phrase, s.mined) == (3, 4)
    assert (s.per_text, s.per_image, s.mean_frequency, s.median_frequency) == (6 / 5, 2.0, 2.0, 2.0)
    assert (s.attributes, s.relations) == (("red-dog", "blue-dog"), ("dog-sit on-mat",))
    assert s.frequent == ("red-dog", "blue-dog", "dog-sit on-mat")


def test_statistics_of_nothing() -> None:
    s = statistics([], VOCABULARY)
    assert (s.per_text, s.per_image, s.mean_frequency, s.median_frequency, s.frequent) == (0.0, 0.0, 0.0, 0.0, ())


def test_the_papers_own_numbers_agree_with_the_definitions() -> None:
    paper = PAPER["table8"]
    assert paper["unique"] * paper["mean_frequency"] == pytest.approx(paper["all"], rel=1e-3)
    assert {spelled(("man", "young")), spelled(("man", "two"))} <= set(PAPER["table5"]["MSCOCO"]["frequent"])
    assert spelled(("man", "sit on", "bench")) in PAPER["table5"]["Flickr30k"]["frequent"]


def test_tables_of_a_corpus(tables: Path) -> None:
    phrases = dict(mine.mine(mine.distinct_texts(tables), MODEL))
    vocabulary = build(phrases.values(), 1, 10)
    fifth, eighth = table5(tables, phrases, vocabulary), table8(tables, phrases, vocabulary)
    assert set(fifth) == {"s", "s (VQA task)", "s (SNLI-VE task)"}
    assert fifth["s"].texts == 6 and fifth["s (VQA task)"].texts == 2
    # train captions: red star + above, red star, blue ring, none
    assert (eighth.texts, eighth.all, eighth.unique, eighth.images) == (4, 4, 3, 3)
    assert eighth.attributes[0] == "red-star" and eighth.relations == ("star-above-ring",)
    rows = beside_published(fifth, eighth, PAPER)
    named = {r["data set"]: r for r in rows["table5"]}
    assert named["MSCOCO"]["per text (paper)"] == 1.966 and named["MSCOCO"]["unique"] is None
    assert named["s"]["unique (paper)"] is None and named["s"]["unique"] == fifth["s"].unique
    values = {r["statistic"]: (r["ours"], r["paper"]) for r in rows["table8"]}
    assert values["unique"] == (3, 54950) and values["per text"] == (1.0, 1.58)


def test_a_text_that_was_not_mined_is_named(tables: Path) -> None:
    with pytest.raises(InputError, match=r"captions\.parquet, row s/0: the text .* was not mined"):
        table8(tables, {}, VOCABULARY)
