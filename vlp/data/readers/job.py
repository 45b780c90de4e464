"""What a reader of annotations is given."""

from __future__ import annotations

from dataclasses import dataclass, field

from vlp.data.readers.common import Once, Report
from vlp.data.readers.images import Images
from vlp.data.readers.source import Files


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
        return self.files.key
