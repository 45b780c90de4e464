"""What every downstream task sets, and what is known of each task without torch (paper 4.2, A.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from vlp.config.base import Part, stated
from vlp.config.training import Optimisation

RUNS = {"variants", "seeds", "splits"}
"""Which trainings and predictions there are, not what one of them is."""
AFTER_TRAINING = RUNS | {"seen_test_images", "folds", "exhaustive"}


class Task(Part):
    dataset: str | None = Field(default=None, json_schema_extra=stated("local"))
    """Name of the data set whose samples it is trained and tested on; None: that of `data.name`."""
    optimisation: Optimisation
    evaluations: int = Field(default=5, ge=1)
    """So many times, evenly spaced over the run, val is scored; the best weights are kept."""
    variants: list[Literal["full", "blind", "scratch"]] = Field(
        default=["full", "blind"], json_schema_extra=stated("local")
    )
    """full: from the pre-trained model; blind: the same with images exchanged between samples, in training and test;
    scratch: without pre-training."""
    seeds: int = Field(default=1, ge=1, json_schema_extra=stated("ours"))
    """Fine-tunings of each variant: the first with the experiment's seed, the others with those that follow it. Results
    of one seed have a bootstrap interval, which says nothing of the spread between fine-tunings."""
    splits: list[Literal["val", "test"]] = Field(default=["test"], min_length=1, json_schema_extra=stated("local"))
    """Splits that results are given of; selection reads val whatever stands here."""
    seen_test_images: Literal["refuse", "mark"] = Field(default="refuse", json_schema_extra=stated("ours"))
    """What becomes of a model that has seen test images in pre-training: the task is refused, or goes on and its
    results say how many (`seen_by_model`)."""

    @property
    def of_training(self) -> dict[str, Any]:
        """The values that fine-tuning depends on: asking for other results does not train again."""
        return self.model_dump(mode="json", exclude=AFTER_TRAINING)

    @property
    def of_prediction(self) -> dict[str, Any]:
        """The values that the predictions of a model depend on."""
        return self.model_dump(mode="json", exclude=RUNS)

    @property
    def trainings(self) -> int:
        return len(self.variants) * self.seeds


Kind = Literal["text", "flag", "count", "number", "share", "box", "boxes"]
"""Of a column's values. count: from 0; share: from 0 to 1; box: xyxy; boxes: a list of them, not empty."""


@dataclass(frozen=True)
class Facts:
    """A task as every room sees it. `FACTS` of a module of this package; see `vlp/config/tasks/__init__.py`."""

    name: str
    title: str
    explained: str
    """What its numbers mean, for the report."""
    config: type[Task]
    """What an experiment sets of it; a method may have fields of its own beside these."""
    table: str
    """The table with its truth, and the part of `data` that gives it (`vlp/data/tables.py`)."""
    texts: str
    """Text set of the corpus."""
    columns: tuple[str, ...]
    """Of its predictions; more may stand beside them."""
    headlines: tuple[tuple[str, str], ...]
    """The metrics that the report begins with, and what they are called there."""
    samples: str
    """`module:class` of its samples, exchange of images and tables of predictions (`vlp/tasks/base.py: Task`)."""
    place: int
    """Tasks are listed in this order."""
    nullable: frozenset[str] = frozenset()
    """Columns that are null where a method cannot fill them: one without regions chooses among none. All of them are
    null in every row, or in none."""
    given: tuple[tuple[str, str], ...] = ()
    """Columns of its predictions that are copies of its table, and of which column there; a file in which they differ
    is refused."""
    kinds: tuple[tuple[str, Kind], ...] = ()
    """Columns that its metrics compute with, `columns` or not, and what they hold."""
    needs: frozenset[str] = frozenset()
    """`boxes`: truth and answer are boxes."""
    compared: tuple[tuple[str, str, str], ...] = ()
    """Columns of a sweep's table: title, stage (`pre-trained`, `fine-tuned`), metric."""
    excluded_by_paper: bool = False
    """Its val and test images are kept out of pre-training by `data.exclusion.policy: as_paper`."""
    metrics: str = ""
    """The module whose `measures` gives its numbers; empty: that of `vlp.metrics` with the task's name."""
