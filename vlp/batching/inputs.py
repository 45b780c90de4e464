"""Opens what every training and prediction reads: tables, corpus, region store, vocabulary, tokenizer."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlp.batching.vocabulary import Vocabulary
from vlp.config import Experiment
from vlp.errors import InputError
from vlp.files import read_json, sha256, to_json

if TYPE_CHECKING:
    import pyarrow as pa

    from vlp.images.pictures import Pictures
    from vlp.phrases.corpus import Corpus
    from vlp.regions.store import RegionStore


@dataclass(frozen=True)
class Paths:
    tables: Path
    corpus: Path
    regions: Path | None
    """None: the method reads none."""
    vocabulary: Path
    leaks: Path | None = None
    """Folder of `vlp data leaks`; None: no image is left out, and models do not say what they have seen."""

    @property
    def store(self) -> Path:
        """The region store. Raises InputError: none is named."""
        if self.regions is None:
            raise InputError("regions", "no region store was named.", "Name it: --regions FILE.")
        return self.regions


class Inputs:
    """Lazily opened inputs of one experiment; a method opens those that it reads."""

    def __init__(self, experiment: Experiment, paths: Paths) -> None:
        self.experiment, self.paths = experiment, paths

    @cached_property
    def corpus(self) -> Corpus:
        """Raises InputError: it was built with another vocabulary than the one at hand."""
        from vlp.phrases.corpus import Corpus

        corpus = Corpus(self.paths.corpus)
        if (self.paths.vocabulary / "tokenizer").is_dir():
            corpus.check_vocabulary(self.paths.vocabulary)
        return corpus

    @cached_property
    def store(self) -> RegionStore:
        """Raises InputError: there is none."""
        from vlp.regions.staging import staged
        from vlp.regions.store import RegionStore

        regions, local = self.paths.store, self.experiment.launch.stage_to
        return RegionStore(regions if local is None else staged(regions, local), verify=True)

    @cached_property
    def pictures(self) -> Pictures:
        """The images' pixels, by id."""
        from vlp.data.tables import read_table
        from vlp.images.pictures import Pictures

        return Pictures.of(read_table(self.paths.tables, "images").to_pylist(), self.experiment.data_root)

    @cached_property
    def tokenizer(self) -> Any:
        """HF tokenizer; only what encodes new text asks for it."""
        from vlp.phrases.tokenizer import load

        return load(self.paths.vocabulary / "tokenizer")

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Word pieces and, where there are any, the phrases' rows after them."""
        phrases = self.paths.vocabulary / "phrases.json"
        rows = int(read_json(phrases)["rows"]) if phrases.exists() else 0
        return Vocabulary.of(self.paths.vocabulary / "tokenizer" / "tokenizer.json", rows)

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

    @cached_property
    def digests(self) -> dict[str, str]:
        """Of the artefacts that are read: what a model is made from."""
        p = self.paths
        named = {"corpus": p.corpus, "regions": p.regions, "vocabulary": p.vocabulary}
        return {name: sha256(path) for name, path in named.items() if path is not None}

    def fingerprint(self, *parts: Any) -> str:
        """Digest of the input files and of the given settings: what a checkpoint must agree with to be used."""
        files = list(self.digests.values())
        return hashlib.sha256(to_json([files, *parts], sort_keys=True, default=str).encode()).hexdigest()
