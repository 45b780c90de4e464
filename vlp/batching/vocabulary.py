"""What the ids of a text mean."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlp.errors import InputError
from vlp.phrases import pieces


@dataclass(frozen=True)
class Vocabulary:
    """Special ids and rows of the joint table: word pieces first, phrases after them."""

    cls: int
    sep: int
    mask: int
    pad: int
    word_rows: int
    phrase_rows: int
    word_choices: np.ndarray
    """Ids a masked word may be replaced by: all but the special ones."""

    @classmethod
    def of(cls, tokenizer: Path, rows: int) -> Vocabulary:
        """From `tokenizer.json` and the rows of the joint table; transformers would take a second to import.

        Args:
            rows: of words and phrases; 0: there are no phrases.

        Raises:
            InputError: the tokenizer is damaged, lacks a special token, or has more pieces than there are rows.
        """
        from tokenizers import Tokenizer

        t = Tokenizer.from_file(str(tokenizer))
        special: dict[str, int] = {}
        for name in ("[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]"):
            number = t.token_to_id(name)
            if number is None:
                raise InputError(tokenizer, f"lacks BERT's special token {name}.", "Name a BERT tokenizer.")
            special[name] = number
        words = pieces.count(tokenizer.parent)
        if rows and rows < words:
            problem = f"is of a table of {rows} rows, the tokenizer has {words} word pieces already."
            raise InputError(
                tokenizer.parent.parent / "phrases.json", problem, "Make both again: vlp phrases vocabulary."
            )
        return cls(
            cls=special["[CLS]"],
            sep=special["[SEP]"],
            mask=special["[MASK]"],
            pad=special["[PAD]"],
            word_rows=words,
            phrase_rows=max(rows - words, 0),
            word_choices=np.setdiff1d(np.arange(words), list(special.values())),
        )
