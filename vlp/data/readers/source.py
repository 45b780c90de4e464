"""The files of a source, and what a reader is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vlp.config.data import Data, Source
from vlp.data.readers.common import Once, Report
from vlp.errors import ConfigError, InputError

if TYPE_CHECKING:
    from vlp.data.readers.images import Images


@dataclass(frozen=True)
class Files:
    """The files of one table's source: role -> (source split or None, path) of each that exists."""

    table: str
    data: Data
    root: Path
    report: Report

    @property
    def source(self) -> Source:
        return getattr(self.data, self.table)

    def check(self, roles: tuple[str, ...]) -> None:
        """
        Raises:
            ConfigError: a role the format needs is missing, or one is unknown to it.
        """
        where, needed = f"data.{self.table}.files", ", ".join(roles)
        for role in roles:
            if role not in self.source.files:
                raise ConfigError(f"{where}.{role}: missing; the format {self.source.format} needs {needed}")
        for role in self.source.files:
            if role not in roles:
                raise ConfigError(f"{where}.{role}: unknown; the format {self.source.format} has {needed}")

    def of(self, role: str) -> list[tuple[str | None, Path]]:
        """`{split}` stands for each source split in `data.split.rename`; one without a file is noted in the summary
        (VQA's test has no answers), except where a split of ours would have no captions file at all.

        Raises:
            InputError: there is no file.
        """
        pattern = self.source.files[role]
        remedy = f"Check data.root and data.{self.table}.files.{role}."
        if "{split}" not in pattern:
            path = self.root / pattern
            if not path.exists():
                raise InputError(path, "the file is missing.", remedy)
            return [(None, path)]
        found: list[tuple[str | None, Path]] = []
        absent: list[tuple[str, Path]] = []
        for split in self.data.split.rename:
            path = self.root / pattern.replace("{split}", split)
            if path.exists():
                found.append((split, path))
            else:
                absent.append((split, path))
        covered = {self.data.split.rename[split] for split, _ in found if split is not None}
        for split, path in absent:
            if not found or (self.table == "captions" and self.data.split.rename[split] not in covered):
                raise InputError(path, "the file is missing.", f"{remedy} Source splits: data.split.rename.")
            self.report.note(f"{self.table}: no file {self.report.name(path)} (source split {split!r})")
        return found


@dataclass(frozen=True)
class Job:
    """What a reader of annotations gets; it yields the rows of its table."""

    files: Files
    images: Images
    report: Report
    prefix: str
    """Name of the data set, first part of every id."""
    once: Once = field(default_factory=lambda: Once("id"))
    """Ids seen so far, over all files of the table."""

    @property
    def table(self) -> str:
        return self.files.table
