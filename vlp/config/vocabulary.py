"""The word pieces of all texts."""

from pydantic import Field

from vlp.config.base import Part, stated


class Vocabulary(Part):
    tokenizer: str | None = Field(default=None, json_schema_extra=stated("ours"))
    """A BERT directory, `package:NAME` for one in an installed package, or None: word pieces of the train texts."""
    min_count: int = Field(default=3, ge=1, json_schema_extra=stated("ours"))
    """Words of the train texts and tags that are rarer are spelled in pieces (only without `tokenizer`)."""
