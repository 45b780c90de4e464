"""The sources of data as they are known (`sources.yaml`), and which of them an experiment asks for."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from vlp import strict_yaml
from vlp.config.base import Part
from vlp.config.regions import WithRegions

if TYPE_CHECKING:
    from vlp.config import Experiment


Fact = Literal["licence", "counts", "digests"]
NO_LICENCE = ("none stated", "unknown")


class File(Part):
    """One download; None: not known."""

    name: str
    address: str | None
    bytes: int | None = Field(ge=0)
    sha256: str | None = Field(pattern="^[0-9a-f]{64}$")
    gives: dict[str, int | None]
    """Pattern below the data set's root, once it is unpacked -> number of files."""


class Source(Part):
    title: str
    page: str
    licence: str
    sets: list[str] = []
    """Data sets of a config whose images it has."""
    formats: list[str] = []
    """Formats of a config's sources that read it."""
    regions: list[str] = []
    detectors: list[str] = []
    how: str = "Fetch it from its address and unpack it into the data set's folder."
    note: str = ""
    stated: dict[Fact, str] = {}
    """Fact -> where it was read. What has no place here is not verified, and shown so."""
    files: list[File]

    @property
    def facts(self) -> tuple[Fact, ...]:
        """What the entry claims: terms, if any are named; numbers, of its files or in its note; digests."""
        claims: dict[Fact, object] = {"licence": self.licence not in NO_LICENCE}
        counts = [n for file in self.files for n in file.gives.values() if n is not None and n > 1]
        claims["counts"] = counts or any(c.isdigit() for c in self.note)
        claims["digests"] = any(file.sha256 for file in self.files)
        return tuple(fact for fact, claimed in claims.items() if claimed)

    @property
    def unverified(self) -> tuple[Fact, ...]:
        return tuple(fact for fact in self.facts if fact not in self.stated)


@lru_cache(1)
def sources() -> dict[str, Source]:
    read = strict_yaml.read(Path(__file__).with_name("sources.yaml"))
    return {name: Source.model_validate(value) for name, value in read.items()}


def wanted(experiment: Experiment) -> dict[str, list[tuple[str, Path]]]:
    """Name of each source that the experiment asks for -> (its data set, folder to look in).

    An experiment on the embedded data set asks for none.
    """
    from vlp.data.readers.source import TEXT_KEYS, places

    found: dict[str, list[tuple[str, Path]]] = {}
    if experiment.data.generator is not None:
        return found
    for place in places(experiment):
        keys = [*TEXT_KEYS, "questions", "entailment", "phrase_boxes", "objects", "labels", "referring"]
        formats = {s.format for key in keys if (s := getattr(place.settings, key)) is not None}
        for name, source in sources().items():
            if place.name in source.sets or formats & set(source.formats):
                found.setdefault(name, []).append((place.name, place.root))
    if not isinstance(experiment, WithRegions):
        return found
    regions = experiment.regions
    if regions.source == "vinvl_tsv" and regions.tsv is not None:
        sets = [place.name for place in places(experiment)]
        folders = [(s, regions.tsv / s) for s in sets] if len(sets) > 1 else [(sets[0], regions.tsv)]
        found["vinvl"] = folders
    if regions.pretrained is not None and regions.source == "pretrained":
        for name, source in sources().items():
            if regions.pretrained.name.split("_")[0] in source.detectors:
                weights = regions.pretrained.weights
                found[name] = [("regions", weights.parent if weights else experiment.data_root)]
    return found
