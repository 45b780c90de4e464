"""Downstream tasks (paper 4.2, A.3)."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from vlp.config.base import Part, stated
from vlp.config.phrases import Lengths
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
    lengths: Lengths | None = Field(default=None, json_schema_extra=stated("assumed"))
    """None: those of pre-training."""
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


class Retrieval(Task):
    captions_reranked: int = Field(default=128, ge=1, json_schema_extra=stated("paper 4.2.1"))
    """k_c: captions kept for each image (paper 4.2.1)."""
    images_reranked: int = Field(default=64, ge=1, json_schema_extra=stated("paper 4.2.1"))
    """k_i: images kept for each caption."""
    folds: int = Field(default=1, ge=1, json_schema_extra=stated("ours"))
    """Each so-many-th part of the images is ranked by itself too, and the mean is given: 5 of COCO's 5k test images
    are "COCO 1k". 1: only the whole."""
    exhaustive: bool = Field(default=False, json_schema_extra=stated("ours"))
    """Score every pair, and tell what is lost by re-ranking only the coarse candidates."""


class Vqa(Task):
    answers: str | None = None
    """File with the answer list (JSON, index = label); None: the answers of the train split."""
    min_answer_count: int = Field(default=9, ge=1)
    minival: int | None = Field(default=None, ge=1, json_schema_extra=stated("ours"))
    """Selection reads so many images of val, the same ones in every run; None: all of val."""
    train_on_val: bool = Field(default=False, json_schema_extra=stated("paper A.3.2"))
    """The final run: val is trained on too, but for the images of minival."""

    @model_validator(mode="after")
    def _something_selects(self) -> Self:
        if self.train_on_val and self.minival is None:
            raise ValueError("train_on_val: selection would read what is trained on; name minival, a number of images")
        return self


class Entailment(Task):
    pass


class Grounding(Task):
    objective: Literal["mse", "cross_entropy"] = Field(default="mse", json_schema_extra=stated("paper A.3.4"))
    layer: int = Field(default=3, ge=1)
    """Multimodal layer whose states are compared, counted from 1."""


class Referring(Task):
    """RefCOCO, RefCOCO+, RefCOCOg: not in the paper."""

    objective: Literal["mse", "cross_entropy"] = Field(default="mse", json_schema_extra=stated("released"))
    layer: int | None = Field(default=None, ge=1, json_schema_extra=stated("assumed"))
    """Multimodal layer whose states are compared, counted from 1; None: the last."""


class Tasks(Part):
    retrieval: Retrieval | None = None
    vqa: Vqa | None = None
    entailment: Entailment | None = None
    grounding: Grounding | None = None
    referring: Referring | None = None
