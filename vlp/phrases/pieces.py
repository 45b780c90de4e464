"""How many word pieces a tokenizer has, and which: what a model's rows for words have to agree with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vlp.errors import InputError
from vlp.files import to_json

if TYPE_CHECKING:
    from vlp.phrases.vocabulary import PhraseVocabulary

VOCABULARY, TOKENIZER = "vocab.txt", "tokenizer.json"
_BOM = b"\xef\xbb\xbf"


def count(folder: Path) -> int:
    """Word pieces of a tokenizer directory: their ids are 0 to `count` - 1.

    Raises:
        InputError: as `read`.
    """
    return len(read(folder))


def read(folder: Path) -> list[str]:
    """The word pieces in the order of their ids, of `tokenizer.json` and what was added to it, or of `vocab.txt`.

    Raises:
        InputError: there is neither, one is damaged, an id is given to no piece, or the two files have others.
    """
    pieces, listed = folder / TOKENIZER, folder / VOCABULARY
    if not pieces.is_file() and not listed.is_file():
        raise InputError(folder, f"no {VOCABULARY} or {TOKENIZER}.", "Name a BERT directory.")
    # Stripped, as the library reads this file.
    lines = [line.strip() for line in read_lines(listed)] if listed.is_file() else None
    if not pieces.is_file():
        assert lines is not None
        return lines
    found = _of_json(pieces)
    if lines is None:
        return found
    if lines != found[: len(lines)]:
        at = next((i for i, (a, b) in enumerate(zip(lines, found, strict=False)) if a != b), len(found))
        other = repr(found[at]) if at < len(found) else "nothing"
        problem = f"id {at} is {lines[at]!r} here and {other} in {TOKENIZER} ({len(lines)} and {len(found)} pieces)."
        raise InputError(listed, problem, "Take both files of one tokenizer.", row=at + 1)
    return found


def read_lines(path: Path) -> list[str]:
    """The pieces of a vocab.txt, one a line.

    Raises:
        InputError: not UTF-8, with a byte order mark, an empty line, or a piece that stands twice.
    """
    data = path.read_bytes()
    if data.startswith(_BOM):
        problem = "begins with a byte order mark, which would be read as part of the first piece."
        raise InputError(path, problem, "Save it as UTF-8 without it, or fetch it again.", row=1)
    try:
        # Not splitlines: BERT's pieces have other ends of lines among them.
        lines = data.decode("utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        raise InputError(path, f"not UTF-8 text ({error.reason}).", "Fetch it again.", row=row) from error
    lines = [line.removesuffix("\r") for line in lines]
    first: dict[str, int] = {}
    for row, line in enumerate(lines, start=1):
        if not line.strip(" "):
            raise InputError(path, "an empty line, so that the pieces after it have other ids.", "Remove it.", row=row)
        if first.setdefault(line, row) != row:
            problem = f"{line!r} stands in row {first[line]} already: its id is the later one, the other has no piece."
            raise InputError(path, problem, "Remove one of the two, or fetch the file again.", row=row)
    return lines


def check_rows(folder: Path, words: int, phrases: Iterable[int], rows: int) -> None:
    """Whether a table of embeddings fits what reads it.

    Args:
        folder: holds `tokenizer/`.
        words: rows for word pieces; the rows for phrases follow them.
        phrases: ids that texts may be given for phrases.
        rows: of the whole table.

    Raises:
        InputError: the tokenizer has more pieces or fewer, or an id of a phrase is no phrase's row.
    """
    found = count(folder / "tokenizer")
    if found != words:
        effect = f"the last {words - found} would be no word's"
        if found > words:
            effect = (
                f"the last {found - words} would be read as {'phrases' if rows > words else 'rows beyond the table'}"
            )
        problem = f"has {found} word pieces, the model {words} rows for them: {effect}."
        raise InputError(folder / "tokenizer", problem, "Take the tokenizer that the model was made with.")
    for number in phrases:
        if not words <= number < rows:
            problem = f"the id {number} is no phrase's row: those of the model are {words} to {rows - 1}."
            raise InputError(folder / "phrases.json", problem, "Take the phrases that the model was made with.")


def meaning(listed: Sequence[str], phrases: PhraseVocabulary | None) -> str:
    """Digest of what ids stand for: the pieces in the order of theirs, and each phrase with its own."""
    records = [] if phrases is None else [[r.id, *r.parts] for r in phrases.records]
    return hashlib.sha256(to_json([[piece.strip() for piece in listed], records]).encode()).hexdigest()


def fed(phrases: PhraseVocabulary) -> list[int]:
    """The ids that a text may be given: single objects are kept, but never fed."""
    return [r.id for r in phrases.records if r.kind != "object"]


def _of_json(path: Path) -> list[str]:
    from tokenizers import Tokenizer

    try:
        numbers: dict[str, int] = Tokenizer.from_file(str(path)).get_vocab(with_added_tokens=True)
    except Exception as error:  # the library raises bare ones
        raise InputError(path, f"not a tokenizer ({error}).", "Fetch or make it again.") from error
    by_id = {number: piece for piece, number in numbers.items()}
    missing = next((i for i in range(len(by_id)) if i not in by_id), None)
    if missing is not None:
        problem = f"no piece has the id {missing}, though there are ids up to {max(by_id)}."
        raise InputError(path, problem, "Take the tokenizer as it was made: its ids follow one another.")
    return [by_id[i].strip() for i in range(len(by_id))]
