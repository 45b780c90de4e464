"""Opens what every training and prediction reads: corpus, region store, vocabulary, tokenizer."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlp.config import Experiment
from vlp.config.phrases import Lengths
from vlp.files import read_json, sha256
from vlp.methods.mvptr.reader import Collator, Vocabulary

if TYPE_CHECKING:
    import pyarrow as pa

    from vlp.regions.store import TagSource


@dataclass(frozen=True)
class Paths:
    tables: Path
    corpus: Path
    regions: Path
    vocabulary: Path
    leaks: Path | None = None
    """Folder of `vlp data leaks`; None: no image is left out, and models do not say what they have seen."""


class Inputs:
    """Lazily opened inputs of one experiment."""

    def __init__(self, experiment: Experiment, paths: Paths, tag_source: TagSource = "detector") -> None:
        """`tag_source`: pre-training alone may read ground-truth tags; a task refuses inputs that do."""
        self.experiment, self.paths = experiment, paths
        self.tag_source: TagSource = tag_source

    @cached_property
    def corpus(self) -> Any:
        from vlp.phrases.corpus import Corpus

        return Corpus(self.paths.corpus)

    @cached_property
    def store(self) -> Any:
        from vlp.regions.staging import staged
        from vlp.regions.store import RegionStore

        local = self.experiment.launch.stage_to
        return RegionStore(self.paths.regions if local is None else staged(self.paths.regions, local), verify=True)

    @cached_property
    def tokenizer(self) -> Any:
        """HF tokenizer; only what encodes new text asks for it."""
        from vlp.phrases.tokenizer import load

        return load(self.paths.vocabulary / "tokenizer")

    @cached_property
    def rows(self) -> int:
        """Rows of the joint table of words and phrases."""
        return int(read_json(self.paths.vocabulary / "phrases.json")["rows"])

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.of(self.paths.vocabulary / "tokenizer" / "tokenizer.json", self.rows)

    @cached_property
    def excluded(self) -> set[str]:
        """Images that pre-training leaves out, as evaluations have them."""
        from vlp.data.leaks.check import excluded

        return set() if self.paths.leaks is None else excluded(self.paths.leaks)

    def identity(self, image_ids: Collection[str]) -> pa.Table | None:
        """Who these images are, to compare them with those of others; None: there is no `leaks` folder.

        Raises:
            InputError: one of them was not looked at.
        """
        from vlp.data.leaks import identity

        if self.paths.leaks is None:
            return None
        file = self.paths.leaks / identity.FILE
        return identity.of_images(identity.read(file), image_ids, file)

    @property
    def region_size(self) -> int:
        return self.store.feature_size + 6

    def collator(self, texts: str, lengths: Lengths | None = None) -> Collator:
        m = self.experiment.model
        return Collator(
            self.corpus,
            self.corpus.texts(texts),
            self.store,
            self.vocabulary,
            lengths or self.experiment.lengths,
            m.use_phrases,
            m.use_tags,
            self.tag_source,
        )

    def fingerprint(self, *parts: Any) -> str:
        """Digest of the input files and of the given settings: what a checkpoint must agree with to be used."""
        import hashlib

        files = [sha256(p) for p in (self.paths.corpus, self.paths.regions, self.paths.vocabulary)]
        return hashlib.sha256(json.dumps([files, *parts], sort_keys=True, default=str).encode()).hexdigest()

    def describe(self) -> dict[str, Any]:
        """`inputs.json` of a model directory, but for what the detector and the training add."""
        e = self.experiment
        return {
            "lengths": e.lengths.model_dump(),
            "parser": e.phrases.parser,
            "parser_version": _version(e.phrases.parser),
            "regions": {"feature_size": self.store.feature_size, "class_names": list(self.store.class_names)},
            "use_phrases": e.model.use_phrases,
            "use_tags": e.model.use_tags,
        }


def _version(parser: str) -> str | None:
    """None where the parser is not installed: training reads phrases that were mined elsewhere."""
    from vlp.errors import ConfigError
    from vlp.phrases.backends import version

    try:
        return version(parser)
    except ConfigError:
        return None
