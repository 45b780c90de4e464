from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp.errors import ConfigError, InputError
from vlp.phrases import tokenizer


def test_order_of_the_vocabulary() -> None:
    pieces = tokenizer.word_pieces(["A bad bed, bad bed", "bad add"], ["bad cab"], 2)
    characters = [",", "a", "b", "c", "d", "e"]
    assert pieces == [*tokenizer.SPECIALS, *characters, *(f"##{c}" for c in characters), "bad", "bed", "cab"]


@given(st.lists(st.text(alphabet="abé ,B", max_size=20), max_size=8), st.integers(1, 3))
def test_pieces_are_distinct_and_begin_with_the_specials(texts: list[str], least: int) -> None:
    pieces = tokenizer.word_pieces(texts, [], least)
    assert tuple(pieces[:5]) == tokenizer.SPECIALS
    assert len(set(pieces)) == len(pieces)


def test_saved_directory_tokenises_as_bert(tmp_path: Path) -> None:
    pieces = tokenizer.word_pieces(["A Café sign"] * 3 + ["a gnu"], [], 3)
    tokenizer.save(pieces, tmp_path)
    assert (tmp_path / "vocab.txt").read_text().split("\n")[:-1] == pieces
    loaded = tokenizer.load(tmp_path)
    assert len(loaded) == len(pieces)
    encoded = loaded("A CAFÉ  gnu xyz")
    wanted = ["[CLS]", "a", "cafe", "g", "##n", "##u", "[UNK]", "[SEP]"]
    assert loaded.convert_ids_to_tokens(encoded["input_ids"]) == wanted  # type: ignore[arg-type]
    assert [loaded.convert_tokens_to_ids(s) for s in tokenizer.SPECIALS] == [0, 1, 2, 3, 4]


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        tokenizer.save(tokenizer.word_pieces(["red star", "blue ring"], ["disc"], 1), tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_a_package_names_the_folder_inside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "some_bert" / "model"
    tokenizer.save(tokenizer.word_pieces(["red star"], [], 1), inner)
    (tmp_path / "some_bert" / "__init__.py").write_text("")
    (tmp_path / "bare_package").mkdir()
    (tmp_path / "bare_package" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert tokenizer.bert_directory("package:some_bert") == inner
    assert "some_bert" not in sys.modules  # found without running the package
    tokenizer.copy("package:some_bert", tmp_path / "copy")
    assert (tmp_path / "copy" / "vocab.txt").read_bytes() == (inner / "vocab.txt").read_bytes()
    assert len(tokenizer.load(tmp_path / "copy")) == len(tokenizer.load(inner))
    with pytest.raises(ConfigError, match="0 folders"):
        tokenizer.bert_directory("package:bare_package")
    with pytest.raises(ConfigError, match="no such package"):
        tokenizer.bert_directory("package:not_there")


def test_a_directory_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no vocab"):
        tokenizer.copy(tmp_path, tmp_path / "out")
    with pytest.raises(InputError, match="no tokenizer directory"):
        tokenizer.load(tmp_path / "none")


def test_a_tokenizer_without_mask_is_refused(tmp_path: Path) -> None:
    tokenizer.save(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a"], tmp_path)
    with pytest.raises(InputError, match=r"\[MASK\]"):
        tokenizer.load(tmp_path)
