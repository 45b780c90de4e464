"""Phrases, the text vocabulary, and the lengths that hold for every input (paper 3.1, 4.1)."""

from pydantic import Field

from vlp.config.base import Part, stated


class Phrases(Part):
    parser: str = Field(default="en_core_web_sm", json_schema_extra=stated("ours"))
    """A spaCy model that is installed as a package, or `spice:PATH` of SPICE's jar."""
    min_sentences: int = Field(default=50, ge=1, json_schema_extra=stated("paper 3.1.1"))
    """A phrase enters the vocabulary if it occurs in so many train sentences (paper 3.1.1)."""
    processes: int = Field(default=2, ge=1, json_schema_extra=stated("local"))
    shards: int = Field(default=1, ge=1, json_schema_extra=stated("local"))
    """Parts of the texts that are mined each by its own, as jobs where `launch.phrases` says so."""


class Vocabulary(Part):
    tokenizer: str | None = Field(default=None, json_schema_extra=stated("ours"))
    """A BERT directory, `package:NAME` for one in an installed package, or None: word pieces of the train texts."""
    min_count: int = Field(default=3, ge=1, json_schema_extra=stated("ours"))
    """Words of the train texts and tags that are rarer are spelled in pieces (only without `tokenizer`)."""


_LENGTHS = {"lengths": "paper 4.1"}
"""Of pre-training; fine-tuning has its own (A.3)."""


class Lengths(Part):
    """Caps that hold, [CLS] and [SEP] counted in (paper 4.1: 35, 5, 50, 20)."""

    words: int = Field(default=35, ge=3, json_schema_extra=stated(**_LENGTHS))
    phrases: int = Field(default=5, ge=0, json_schema_extra=stated(**_LENGTHS))
    regions: int = Field(default=50, ge=1, json_schema_extra=stated(**_LENGTHS))
    tags: int = Field(default=20, ge=2, json_schema_extra=stated(**_LENGTHS))
