"""The word pieces of a tokenizer directory, by number: damaged files are named, two files must say the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vlp.errors import InputError
from vlp.phrases import pieces, tokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "\u2028", "##s"]
"""A piece may be an end of line in Unicode."""
READ = [w.strip() for w in WORDS]


def listed(folder: Path, words: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("".join(f"{w}\n" for w in words), encoding="utf-8")
    return folder


def test_both_forms_say_the_same(tmp_path: Path) -> None:
    source = listed(tmp_path / "a", WORDS)
    assert pieces.read(source) == READ
    tokenizer.copy(source, tmp_path / "b")
    assert (tmp_path / "b" / "tokenizer.json").exists() and pieces.read(tmp_path / "b") == READ
    (tmp_path / "b" / "vocab.txt").unlink()
    assert pieces.count(tmp_path / "b") == 8


def test_windows_ends_of_lines_are_no_part_of_a_piece(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes("".join(f"{w}\r\n" for w in WORDS).encode())
    assert pieces.read(tmp_path) == READ


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\xef\xbb\xbf[PAD]\n[UNK]\n", r"vocab\.txt, row 1: begins with a byte order mark"),
        (b"[PAD]\n\n[UNK]\n", r"row 2: an empty line"),
        (b"[PAD]\ncat\n[UNK]\ncat\n", r"row 4: 'cat' stands in row 2 already"),
        ("[PAD]\ncaf\xe9\n".encode("latin-1"), r"row 2: not UTF-8 text"),
    ],
)
def test_a_damaged_list_is_named_with_its_row(tmp_path: Path, data: bytes, told: str) -> None:
    (tmp_path / "vocab.txt").write_bytes(data)
    for read in (lambda: pieces.read(tmp_path), lambda: tokenizer.copy(tmp_path, tmp_path / "o")):
        with pytest.raises(InputError, match=told):
            read()
    with pytest.raises(InputError, match=told):
        tokenizer.load(tmp_path)


def test_two_words_more_in_one_of_two_files(tmp_path: Path) -> None:
    tokenizer.copy(listed(tmp_path / "a", WORDS), tmp_path / "b")
    listed(tmp_path / "b", [*WORDS, "dog", "sun"])
    with pytest.raises(InputError, match=r"row 9: id 8 is 'dog' here and nothing in \S+ \(10 and 8 pieces\)"):
        tokenizer.load(tmp_path / "b")


def test_an_id_without_a_piece(tmp_path: Path) -> None:
    tokenizer.copy(listed(tmp_path / "a", WORDS), tmp_path / "b")
    (tmp_path / "b" / "vocab.txt").unlink()
    file = tmp_path / "b" / "tokenizer.json"
    value = json.loads(file.read_text())
    value["model"]["vocab"]["dog"] = 11
    file.write_text(json.dumps(value))
    with pytest.raises(InputError, match="no piece has the id 8, though there are ids up to 11"):
        pieces.count(tmp_path / "b")


def test_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no vocab\.txt or tokenizer\.json"):
        pieces.count(tmp_path)
