"""Phrases of the texts, for methods that read them (paper 3.1)."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from vlp.config.base import Part, stated
from vlp.config.experiment import Experiment


class Phrases(Part):
    parser: str = Field(default="en_core_web_sm", json_schema_extra=stated("ours"))
    """A spaCy model that is installed as a package, or `spice:PATH` of SPICE's jar."""
    min_sentences: int = Field(default=50, ge=1, json_schema_extra=stated("paper 3.1.1"))
    """A phrase enters the vocabulary if it occurs in so many train sentences (paper 3.1.1)."""
    processes: int = Field(default=2, ge=1, json_schema_extra=stated("local"))
    shards: int = Field(default=1, ge=1, json_schema_extra=stated("local"))
    """Parts of the texts that are mined each by its own, as jobs where `launch.phrases` says so."""


class WithPhrases(Experiment):
    """An experiment of a method that reads phrases: they are mined, and follow the word pieces in one vocabulary."""

    needs: ClassVar[frozenset[str]] = frozenset({"phrases"})

    depends: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "phrases": ("phrases.parser",),
        "phrases_shard": ("phrases.parser", "phrases.shards"),
        "vocabulary": ("phrases",),
    }

    phrases: Phrases = Phrases()
