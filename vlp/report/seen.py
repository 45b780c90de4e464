"""What the columns `seen_by_model` and `seen_by_detector` of the results say of a row's images.

`no` · `3 of 1000`: so many of the images were trained on · `stated 1000 of 1000`: so many are of data sets that the
detector is said to be trained on, though not image by image · `unknown`.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from vlp.config.tasks import facts
from vlp.data.leaks import identity, seen
from vlp.data.leaks.match import matches
from vlp.data.tables import read_table

if TYPE_CHECKING:
    import pyarrow as pa

    from vlp.config import Experiment
    from vlp.config.regions import TrainingData

UNKNOWN = "unknown"
DETECTION = "detection"
TRAINED_ON: dict[str, tuple[TrainingData, ...]] = {"vinvl": ("coco", "vg", "objects365", "openimages")}
"""Detector -> data sets its published weights were trained on (VinVL: its paper, section 2 and table 1)."""
_ID = {"coco": "coco_id", "vg": "vg_id"}


class Marks:
    """Compares the images of an experiment's evaluations with what its models and its detector were trained on."""

    def __init__(self, experiment: Experiment, tables: Path, leaks: Path | None) -> None:
        """`leaks`: folder of `vlp data leaks`; None: nothing is known."""
        self._experiment, self._tables, self._leaks = experiment, tables, leaks

    @cached_property
    def _identity(self) -> pa.Table:
        assert self._leaks is not None
        return identity.read(self._leaks / identity.FILE)

    def _images(self, task: str, split: str) -> pa.Table:
        assert self._leaks is not None
        table = "objects" if task == DETECTION else facts(task).table
        rows = read_table(self._tables, table, split)["image_id"].to_pylist()
        settings = getattr(self._experiment.tasks, task, None)
        dataset = (settings.dataset if settings is not None else None) or self._experiment.data.name
        own = {image_id for image_id in rows if identity.data_set(image_id) == dataset}
        return identity.of_images(self._identity, own, self._leaks / identity.FILE)

    def model(self, model_dir: Path, task: str, split: str) -> str:
        """Of the images of a task's split."""
        if self._leaks is None or not (model_dir / "inputs.json").exists():
            return UNKNOWN
        images = self._images(task, split)
        found = seen.seen(model_dir, images)
        return UNKNOWN if found is None else _share({match.evaluated for match in found}, images)

    def detector(self, task: str, split: str) -> str:
        if self._experiment.region_store is None:
            return "no"
        if self._leaks is None:
            return UNKNOWN
        images, regions = self._images(task, split), self._experiment.regions
        if regions.source == "detector":
            return _share({match.evaluated for match in matches(self._detector_images, images)}, images)
        sets = regions.trained_on
        if sets is None and regions.pretrained is not None:
            sets = TRAINED_ON.get(regions.pretrained.name.split("_")[0])
        columns = [images[_ID[name]].to_pylist() for name in sets or () if name in _ID]
        count = sum(any(ids) for ids in zip(*columns, strict=True))
        return f"stated {count} of {images.num_rows}" if count else UNKNOWN

    @cached_property
    def _detector_images(self) -> pa.Table:
        """As `vlp.regions.train.examples` chooses them."""
        annotated = set(read_table(self._tables, "objects")["image_id"].to_pylist())
        train = [i for i in read_table(self._tables, "images", "train")["image_id"].to_pylist() if i in annotated]
        chosen = train[: self._experiment.regions.detector.train_images]
        assert self._leaks is not None
        return identity.of_images(self._identity, chosen, self._leaks / identity.FILE)


def _share(found: set[str], images: pa.Table) -> str:
    return f"{len(found)} of {images.num_rows}" if found else "no"
