"""What a reader of annotations is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from vlp.data.readers.boxes import coco_box, fit, maybe_corners
from vlp.data.readers.common import Once, Report
from vlp.data.readers.images import Image, Images
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

    def find(self, name: str | int) -> Image:
        """As `Images.find`; what the record then lacks is counted in its image's split."""
        image = self.images.find(name, self.prefix)
        self.report.split, self.report.used = image.split, True
        return image

    def fit(self, box: Sequence[float], image: Image, annotated: tuple[float, float] | None, file: Path) -> list[float]:
        """As `boxes.fit`; what is changed is counted under `file`."""
        found = fit(box, image, annotated, partial(self.report.change, self.table, file))
        self.report.boxes[self.table, file, self.report.split] += 1
        return found

    def fit_coco(self, record: object, image: Image, annotated: tuple[float, float] | None, file: Path) -> list[float]:
        """The `bbox` of a COCO annotation, as `fit`."""
        box = coco_box(record)
        found = self.fit(box, image, annotated, file)
        self.report.corners[self.table, file, self.report.split] += maybe_corners(box, image, annotated)
        return found
