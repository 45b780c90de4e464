"""The phrase vocabulary: which tuples have a row of their own in the embedding table, after the word pieces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vlp.data.class_names import whole
from vlp.errors import InputError
from vlp.files import read_json, write_json
from vlp.phrases.graph import Kind, Phrase

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class PhraseRecord:
    id: int
    """Row of the joint table of words and phrases."""
    parts: tuple[str, ...]
    kind: Literal["attribute", "relation", "object"]
    count: int | None
    """Train sentences that have it."""


@dataclass(frozen=True)
class PhraseVocabulary:
    rows: int
    """Rows of the joint table: word pieces and phrases."""
    records: tuple[PhraseRecord, ...]
    _ids: dict[tuple[str, ...], int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ids", {r.parts: r.id for r in self.records if r.kind != "object"})

    def __len__(self) -> int:
        return len(self.records)

    def id_of(self, parts: Sequence[str]) -> int | None:
        """The phrase's id, or None; single objects are never phrases."""
        return self._ids.get(tuple(parts))

    def word_ids(self, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
        """For each record the word pieces whose mean row starts the phrase's row (paper 3.1.1)."""
        return [parts_to_word_rows(r.parts, tokenizer) for r in self.records]

    def save(self, path: str | Path) -> None:
        records = [{"id": r.id, "parts": list(r.parts), "kind": r.kind, "count": r.count} for r in self.records]
        write_json(path, {"rows": self.rows, "records": records})

    @classmethod
    def load(cls, path: str | Path) -> PhraseVocabulary:
        """Raises InputError: the file is missing, not JSON, or a record of it is damaged."""
        value = read_json(path)
        remedy = "Make it again: vlp phrases vocabulary."
        found = (value.get("rows"), value.get("records")) if isinstance(value, dict) else (None, None)
        if type(found[0]) is not int or not isinstance(found[1], list):
            raise InputError(path, "a mapping with `rows`, a number, and `records`, a list, is wanted.", remedy)
        records: list[PhraseRecord] = []
        for row, r in enumerate(value["records"]):
            try:
                record = PhraseRecord(int(r["id"]), tuple(map(str, r["parts"])), r["kind"], r["count"])
                if not all(map(whole, record.parts)) or not (record.count is None or type(record.count) is int):
                    raise ValueError("a part is no text, or the count no number")
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                raise InputError(path, f"not a phrase record ({error!r}).", remedy, row) from error
            if not 0 <= record.id < value["rows"] or record.kind not in ("attribute", "relation", "object"):
                raise InputError(path, f"id {record.id} or kind {record.kind!r} is out of range.", remedy, row)
            records.append(record)
        return cls(int(value["rows"]), tuple(records))


def parts_to_word_rows(parts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Word-piece ids of a phrase's words, without special tokens."""
    return list(tokenizer.encode(" ".join(parts), add_special_tokens=False))


def count_phrases(sentences: Iterable[Sequence[Phrase]]) -> Counter[Phrase]:
    """In how many sentences each tuple occurs; the keys have no word positions."""
    counts: Counter[Phrase] = Counter()
    for phrases in sentences:
        counts.update({Phrase(p.kind, p.parts, ()) for p in phrases})
    return counts


def build(sentences: Iterable[Sequence[Phrase]], min_sentences: int, first_id: int) -> PhraseVocabulary:
    """`from_counts` of the phrases of each train caption."""
    counts = count_phrases(sentences)
    return from_counts(((p.kind, p.parts, n) for p, n in counts.items()), min_sentences, first_id)


def from_counts(
    rows: Iterable[tuple[Kind, tuple[str, ...], int]], min_sentences: int, first_id: int
) -> PhraseVocabulary:
    """The tuples of at least `min_sentences` sentences (paper 3.1.1: 50), most frequent first, then by their parts.

    Tuples with equal parts but of two kinds can not be: attributes have two parts, relations three.

    Args:
        rows: kind, parts, and in how many sentences the tuple occurs.
        first_id: size of the tokenizer.
    """
    kept = sorted((row for row in rows if row[2] >= min_sentences), key=lambda row: (-row[2], row[1]))
    records = tuple(PhraseRecord(first_id + i, parts, kind, n) for i, (kind, parts, n) in enumerate(kept))
    return PhraseVocabulary(first_id + len(records), records)


_KINDS: dict[int, Literal["object", "attribute", "relation"]] = {1: "object", 2: "attribute", 3: "relation"}


def read_id2phrase(path: Path, rows: int | None = None) -> PhraseVocabulary:
    """The authors' phrase file: JSON, id -> one to three strings (object; with attribute; subject, relation, object).

    Single objects and aliases of word pieces are kept as records of kind `object`; they are never fed.

    Args:
        rows: of the embedding table; None: the highest id + 1.

    Raises:
        InputError: an entry is no such record, or its id is beyond the table.
    """
    value = read_json(path)
    remedy = "Take the authors' file, unchanged."
    if not isinstance(value, dict) or not value:
        raise InputError(path, "a JSON object, id -> parts, is wanted.", remedy)
    records = []
    for row, (key, parts) in enumerate(value.items()):
        whole = isinstance(parts, list) and all(isinstance(p, str) for p in parts) and len(parts) in _KINDS
        if not key.isdecimal() or not whole:
            raise InputError(path, f"{key}: {parts!r} is no phrase of one to three strings.", remedy, row)
        records.append(PhraseRecord(int(key), tuple(parts), _KINDS[len(parts)], None))
    highest = max(r.id for r in records)
    if rows is not None and highest >= rows:
        raise InputError(path, f"id {highest} is beyond the table's {rows} rows.", "Take the file of this checkpoint.")
    return PhraseVocabulary(highest + 1 if rows is None else rows, tuple(records))


def is_ours(path: Path) -> bool:
    """The file is no id2phrase file: it has a list of records."""
    value = read_json(path)
    return isinstance(value, dict) and "records" in value


def read_any(path: Path) -> PhraseVocabulary:
    """A vocabulary of ours, or the authors' phrase file. Raises InputError: it is neither."""
    return PhraseVocabulary.load(path) if is_ours(path) else read_id2phrase(path)


def write_id2phrase(vocabulary: PhraseVocabulary, path: Path) -> None:
    """The inverse of `read_id2phrase`; counts have no place there."""
    write_json(path, {str(r.id): list(r.parts) for r in vocabulary.records})
