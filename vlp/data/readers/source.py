"""The data sets of an experiment, and the files of a source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vlp.config.data import DataSet, Source
from vlp.data.readers.common import Report
from vlp.errors import ConfigError, InputError

if TYPE_CHECKING:
    from vlp.config import Experiment

TEXT_KEYS = ("captions", "texts")
"""Keys of a data set whose sources name images and their texts; the others annotate those images."""


@dataclass(frozen=True)
class Place:
    """One data set of the experiment and where it lies."""

    name: str
    """First part of every id."""
    settings: DataSet
    root: Path
    base: Path
    """`path` of an image is relative to it."""
    where: str
    """Path of its keys in the config: `data` or `data.sets.NAME`."""


def places(experiment: Experiment) -> list[Place]:
    """The data sets of an experiment; the texts of one with a captioner are what that writes."""
    data, base = experiment.data, experiment.data_root
    several = any(data.sets.values())
    found = []
    for name, settings in data.each().items():
        if settings.captioner is not None:
            written = Source(format="captions_jsonl", files={"captions": str(experiment.captions_of(name))})
            settings = settings.model_copy(update={"texts": written})
        root = base / (settings.root or "") if several else base
        found.append(Place(name, settings, root, base, f"data.sets.{name}" if several else "data"))
    return found


@dataclass(frozen=True)
class Files:
    """The files of one source: role -> (source split or None, path) of each that exists."""

    key: str
    """`captions`, `questions`, ..."""
    place: Place
    report: Report

    @property
    def source(self) -> Source:
        return getattr(self.place.settings, self.key)

    @property
    def is_made(self) -> bool:
        """The experiment writes it itself."""
        return self.key == "texts" and self.place.settings.captioner is not None

    @property
    def where(self) -> str:
        return f"{self.place.where}.{self.key}.files"

    def check(self, roles: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
        """
        Raises:
            ConfigError: a role the format needs is missing, or one is unknown to it.
        """
        needed = ", ".join([*roles, *(f"{role} (optional)" for role in optional)])
        for role in roles:
            if role not in self.source.files:
                raise ConfigError(f"{self.where}.{role}: missing; the format {self.source.format} needs {needed}")
        for role in self.source.files:
            if role not in (*roles, *optional):
                raise ConfigError(f"{self.where}.{role}: unknown; the format {self.source.format} has {needed}")

    def named(self, role: str) -> list[Path]:
        """Every path that the config names for a role, there or not."""
        pattern = self.source.files.get(role)
        if pattern is None:
            return []
        if "{split}" not in pattern:
            return [self.place.root / pattern]
        return [self.place.root / pattern.replace("{split}", split) for split in self.place.settings.split.rename]

    def of(self, role: str) -> list[tuple[str | None, Path]]:
        """`{split}` stands for each source split in `split.rename`; one without a file is noted in the summary
        (VQA's test has no answers), except where a split of ours would have no captions file at all. An optional role
        that the config does not name has no files.

        Raises:
            InputError: there is no file.
        """
        pattern, rename = self.source.files.get(role), self.place.settings.split.rename
        if pattern is None:
            return []
        remedy = f"Check data.root and {self.where}.{role}."
        if "{split}" not in pattern:
            path = self.place.root / pattern
            if not path.exists():
                raise InputError(path, "the file is missing.", remedy)
            return [(None, path)]
        found: list[tuple[str | None, Path]] = []
        absent: list[tuple[str, Path]] = []
        for split in rename:
            path = self.place.root / pattern.replace("{split}", split)
            if path.exists():
                found.append((split, path))
            else:
                absent.append((split, path))
        covered = {rename[split] for split, _ in found if split is not None}
        for split, path in absent:
            if not found or (self.key == "captions" and rename[split] not in covered):
                raise InputError(
                    path, "the file is missing.", f"{remedy} Source splits: {self.place.where}.split.rename."
                )
            self.report.note(f"{self.key}: no file {self.report.name(path)} (source split {split!r})")
        return found
