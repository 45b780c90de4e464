"""The train texts that the vocabularies are made from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

from vlp.data.tables import read_table
from vlp.errors import InputError
from vlp.files import read_json
from vlp.phrases.graph import Phrase

T = TypeVar("T")


def train_texts(tables: str | Path) -> Iterator[str]:
    """Captions, questions, hypotheses of the train split, each as often as it stands there."""
    for name in ("captions", "questions", "entailment"):
        yield from read_table(tables, name, split="train")["text"].to_pylist()


def train_captions(
    tables: str | Path, phrases: Mapping[str, Sequence[Phrase]], source: str | Path
) -> Iterator[Sequence[Phrase]]:
    """The phrases of each train caption. `source` is the file that `phrases` were read from, for errors."""
    table = read_table(tables, "captions", split="train")
    for caption_id, text in zip(table["caption_id"].to_pylist(), table["text"].to_pylist(), strict=True):
        if text not in phrases:
            raise InputError(source, f"the text {text!r} was not mined.", "Mine again: vlp phrases mine.", caption_id)
        yield phrases[text]


def batched(texts: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items, the last one shorter; read as they are needed."""
    texts = iter(texts)
    while part := list(islice(texts, size)):
        yield part


def caption_lines(path: Path, limit: int | None = None) -> Iterator[str]:
    """The captions of a COCO annotation file (`.json`) or of a text file with one a line; white space trimmed.

    Text files are read line by line; the annotation file's captions are held in memory.

    Raises:
        InputError: the file is missing, not UTF-8, or a caption is missing or empty.
    """
    remedy = "Name a COCO captions file or a text file with one caption a line."
    if not path.exists():
        raise InputError(path, "the file is missing.", remedy)
    for row, text in enumerate(islice(_raw_captions(path, remedy), limit)):
        if not isinstance(text, str) or not text.strip():
            raise InputError(path, "the caption is missing or empty.", "Remove or mend the row.", row)
        yield text.strip()


def _raw_captions(path: Path, remedy: str) -> Iterator[object]:
    if path.suffix == ".json":
        value = read_json(path)
        if not isinstance(value, dict) or not isinstance(value.get("annotations"), list):
            raise InputError(path, "there is no list `annotations`.", remedy)
        for row in value["annotations"]:
            yield row.get("caption") if isinstance(row, dict) else None
        return
    if path.is_dir():
        raise InputError(path, "a folder, where a file is wanted.", remedy)
    with path.open(encoding="utf-8") as lines:
        try:
            yield from lines
        except UnicodeDecodeError as error:
            raise InputError(path, f"not UTF-8 ({error}).", "Save it as UTF-8.") from error
