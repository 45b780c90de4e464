"""The train texts that the vocabularies are made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vlp.data.tables import read_table
from vlp.errors import InputError
from vlp.phrases.graph import Phrase


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
