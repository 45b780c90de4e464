"""Phrases, the text vocabulary, and the lengths that hold for every input (paper 3.1, 4.1)."""

from pydantic import Field

from vlp.config.base import Part


class Phrases(Part):
    parser: str = "en_core_web_sm"
    """A spaCy model that is installed as a package."""
    min_sentences: int = Field(default=50, ge=1)
    """A phrase enters the vocabulary if it occurs in so many train sentences (paper 3.1.1)."""
    processes: int = Field(default=2, ge=1)


class Vocabulary(Part):
    tokenizer: str | None = None
    """A BERT directory, `package:NAME` for one in an installed package, or None: word pieces of the train texts."""
    min_count: int = Field(default=3, ge=1)
    """Words of the train texts and tags that are rarer are spelled in pieces (only without `tokenizer`)."""


class Lengths(Part):
    """Caps that hold, [CLS] and [SEP] counted in (paper 4.1: 35, 5, 50, 20)."""

    words: int = Field(default=35, ge=3)
    phrases: int = Field(default=5, ge=0)
    regions: int = Field(default=50, ge=1)
    tags: int = Field(default=20, ge=2)
