from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.phrases.conftest import MODEL, FakeStore
from vlp.data.tables import read_table, write_table
from vlp.errors import InputError
from vlp.phrases import mine, tokenizer, vocabulary
from vlp.phrases.corpus import Corpus, CorpusCounts, write
from vlp.phrases.encode import pieces_of
from vlp.phrases.texts import train_captions, train_texts
from vlp.phrases.vocabulary import PhraseVocabulary


class Built:
    def __init__(self, tables: Path, store: FakeStore, folder: Path) -> None:
        self.tables, self.store, self.path = tables, store, folder / "corpus.h5"
        self.phrases = dict(mine.mine(mine.distinct_texts(tables), MODEL))
        names = sorted({t for found in store.found.values() for t in found})
        tokenizer.save(tokenizer.word_pieces(train_texts(tables), names, 1), folder / "tokenizer")
        self.tokenizer = tokenizer.load(folder / "tokenizer")
        self.vocabulary = vocabulary.build(
            train_captions(tables, self.phrases, "phrases.parquet"), 1, len(self.tokenizer)
        )

    def write(self) -> CorpusCounts:
        return write(self.path, self.tables, self.phrases, self.vocabulary, self.tokenizer, self.store)


@pytest.fixture
def built(tables: Path, store: FakeStore, tmp_path: Path) -> Built:
    return Built(tables, store, tmp_path)


def test_texts_come_back_with_their_phrases(built: Built) -> None:
    counts = built.write()
    captions = Corpus(built.path).texts("captions")
    # Rows in the table's order; s/4 has no regions.
    assert captions.ids == ["s/0#0", "s/0#1", "s/1#2", "s/2#3", "s/3#4"]
    assert (captions.image_ids[4], captions.splits) == ("s/3", ["train"] * 4 + ["val"])
    text = "a red star above a ring"
    assert built.tokenizer.decode(captions.tokens(0)) == text
    assert [text[a:b] for a, b in captions.spans(0)] == text.split()
    parts = {r.id: r.parts for r in built.vocabulary.records}
    assert [parts[i] for i in captions.phrases(0)] == [("star", "red"), ("star", "above", "ring")]
    assert captions.phrase_words(0).tolist() == [[0, 1], [0, 2], [1, 2], [1, 3], [1, 5]]
    assert len(captions.phrases(3)) == 0 and captions.phrase_words(3).shape == (0, 2)
    # "next to" was seen in val only: not in the vocabulary.
    assert [parts[i] for i in captions.phrases(4)] == [("star", "red")]
    assert counts.texts == {"captions": 5, "questions": 1, "entailment": 1, "grounding": 1, "referring": 1}
    assert counts.left_out == {"captions.test": 1, "questions.test": 1}
    assert counts.without_phrase["captions"] == 1


def test_a_question_for_pre_training_is_marked(built: Built) -> None:
    built.write()
    assert Corpus(built.path).texts("captions").matchable is None
    rows = read_table(built.tables, "captions").to_pylist()
    for row in rows:
        row["kind"] = "question" if row["caption_id"] == "s/1#2" else "caption"
    write_table(built.tables, "captions", rows)
    built.write()
    captions = Corpus(built.path).texts("captions")
    assert captions.matchable is not None
    assert [i for i, describes in zip(captions.ids, captions.matchable, strict=True) if not describes] == ["s/1#2"]
    assert Corpus(built.path).texts("grounding").matchable is None


def test_every_text_set_and_the_tags(built: Built) -> None:
    built.write()
    corpus = Corpus(built.path)
    assert corpus.texts("grounding").ids == ["s/0#1"]
    assert corpus.texts("questions").ids == ["s/1#0"]
    assert corpus.texts("referring").image_ids == ["s/2"]
    assert corpus.texts("captions") is corpus.texts("captions")
    words = [built.tokenizer.convert_ids_to_tokens(t.tolist()) for t in corpus.tags("s/0")]
    assert words == [["star"], ["fire", "hydrant"]]
    assert corpus.tags("s/3") == []
    with pytest.raises(InputError, match="s/4"):
        corpus.tags("s/4")
    with pytest.raises(ValueError, match="no text set"):
        corpus.texts("stories")
    with pytest.raises(IndexError):
        corpus.texts("captions").tokens(5)


def test_the_layout_is_that_of_the_contract(built: Built) -> None:
    built.write()
    with h5py.File(built.path) as file:
        arrays: dict[str, dict[str, Any]] = {g: {n: np.asarray(d) for n, d in file[g].items()} for g in file}  # type: ignore[union-attr]
    assert set(arrays) == {"captions", "questions", "entailment", "grounding", "referring", "tags"}
    group = arrays["captions"]
    assert set(group) == {
        "ids", "image_ids", "split", "tokens", "token_offsets", "token_spans", "phrases", "phrase_offsets",
        "phrase_words", "phrase_word_offsets",
    }  # fmt: skip
    assert group["token_offsets"][-1] == len(group["tokens"]) == len(group["token_spans"])
    assert set(arrays["tags"]) == {"image_ids", "tag_offsets", "piece_offsets", "pieces"}
    assert arrays["tags"]["tag_offsets"].tolist() == [0, 2, 3, 5, 5]
    assert len(arrays["tags"]["piece_offsets"]) == 6


def test_two_writings_are_byte_equal(built: Built) -> None:
    built.write()
    first = built.path.read_bytes()
    built.write()
    assert built.path.read_bytes() == first


def test_phrases_of_val_and_test_never_enter_the_vocabulary(built: Built) -> None:
    assert ("star", "next to", "star") not in {r.parts for r in built.vocabulary.records}
    assert ("star", "in", "box") not in {r.parts for r in built.vocabulary.records}
    assert {r.parts: r.count for r in built.vocabulary.records}[("star", "red")] == 2
    assert "box" not in built.tokenizer.get_vocab()


def test_no_caption_left_is_an_error_and_leaves_no_file(built: Built) -> None:
    built.store.found = {"other/1": ["star"]}
    with pytest.raises(InputError, match="no caption is left"):
        built.write()
    assert not built.path.exists()


def test_a_text_that_was_not_mined_is_named(built: Built) -> None:
    del built.phrases["a blue ring"]
    with pytest.raises(InputError, match=r"row s/1#2.*'a blue ring' was not mined"):
        built.write()
    with pytest.raises(InputError, match="not mined"):
        list(train_captions(built.tables, built.phrases, "phrases.parquet"))


def test_a_missing_or_damaged_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="missing"):
        Corpus(tmp_path / "corpus.h5")
    (tmp_path / "corpus.h5").write_bytes(b"no")
    with pytest.raises(InputError, match="not a whole corpus"):
        Corpus(tmp_path / "corpus.h5").texts("captions")


def test_an_empty_vocabulary_is_fine(built: Built) -> None:
    built.vocabulary = PhraseVocabulary(len(built.tokenizer), ())
    assert built.write().without_phrase["captions"] == 5
    assert len(Corpus(built.path).texts("captions").phrases(0)) == 0


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 4)), max_size=5))
def test_pieces_of_words_share_a_character_with_them(words: list[tuple[int, int]]) -> None:
    spans = [(0, 2), (3, 5), (5, 6), (8, 12)]
    taken = {c for start, length in words for c in range(start, start + length)}
    found = pieces_of([(s, s + n) for s, n in words], spans)
    assert found == [i for i, (a, b) in enumerate(spans) if taken & set(range(a, b))]


def test_without_regions_and_phrases_every_text_is_in(built: Built) -> None:
    counts = write(built.path, built.tables, None, None, built.tokenizer, None)
    corpus = Corpus(built.path)
    captions = corpus.texts("captions")
    assert captions.ids == read_table(built.tables, "captions")["caption_id"].to_pylist()
    assert counts.left_out == {} and counts.images == counts.tags == 0
    assert built.tokenizer.decode(captions.tokens(captions.ids.index("s/0#0"))) == "a red star above a ring"
    assert captions.sizes()[1].tolist() == [0] * len(captions) and len(captions.phrase_words(0)) == 0
    with pytest.raises(InputError, match="not a whole corpus"):
        corpus.tags("s/0")


def test_a_store_that_writes_ids_otherwise_has_the_same_images(built: Built) -> None:
    """`t/1`, `t/000001` are one image: no text is left out, and its tags are found by the tables' id."""
    built.write()
    before = Corpus(built.path)
    ids, tags = before.texts("captions").ids, {i: before.tags(i) for i in built.store.found}
    changed = {i: f"{i.rpartition('/')[0]}/{i.rpartition('/')[2].zfill(9)}" for i in built.store.found}
    assert any(i != other for i, other in changed.items())
    built.store.found = {changed[i]: names for i, names in built.store.found.items()}
    built.write()
    after = Corpus(built.path)
    assert after.texts("captions").ids == ids and ids
    for image_id in set(before.texts("captions").image_ids):
        assert [t.tolist() for t in after.tags(image_id)] == [t.tolist() for t in tags[image_id]]
