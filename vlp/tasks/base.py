"""What every downstream task shares: its samples, the exchange of images for `blind`, selection."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from torch import nn

from vlp.batching.batch import Batch
from vlp.batching.draw import Draw
from vlp.batching.inputs import Inputs
from vlp.batching.order import derangement
from vlp.errors import InputError
from vlp.finite import demand
from vlp.methods import get
from vlp.methods.base import Side

if TYPE_CHECKING:
    import pyarrow as pa

NO_CHOICE = "Nothing can be chosen by them. Look at the model, and at what it reads of this image."
OTHER = ""
"""In place of the split: the text is of no use to the task."""


class Task(ABC):
    """One downstream task, whatever the method: what is asked, what is right, and the table of what was answered.

    How a model answers is its method's side (`vlp/methods/base.py`).
    """

    name: ClassVar[str]
    texts: ClassVar[str]
    """Text set of the corpus."""
    capability: ClassVar[type[Side]]
    """What a method's side has to be able to do."""

    def __init__(self, inputs: Inputs, config: Any, blind: bool) -> None:
        """Raises InputError: the experiment's method can not do the task."""
        self.inputs, self.config, self.blind = inputs, config, blind
        self.text_set = inputs.corpus.texts(self.texts)
        self.splits = np.where(self._usable(), np.asarray(self.text_set.splits), OTHER)
        self.seed = inputs.experiment.seed
        self.image_of = self._images()
        self.side = self._side()

    def _side(self) -> Any:
        method = get(self.inputs.experiment.model.method)
        kind = method.tasks.get(self.name)
        if kind is None:
            does = ", ".join(method.tasks) or "none"
            problem = f"{method.title} does not do it; its tasks are {does}."
            raise InputError(f"tasks.{self.name}", problem, "Leave the task out, or use another method.")
        assert issubclass(kind, self.capability), f"{kind} is no {self.capability.__name__}"
        return kind(self)

    # -- what a task says of itself ----------------------------------------------------------------------------
    def describe(self) -> dict[str, Any]:
        """What `inputs.json` of the fine-tuned model says of the task."""
        return {"objectives": [self.name]}

    def adopt(self, said: Mapping[str, Any]) -> None:  # noqa: B027  (most tasks have nothing to adopt)
        """Take over what the `inputs.json` of a fine-tuned model says of the task, before it predicts."""

    @abstractmethod
    def predict(self, model: nn.Module, split: str) -> pa.Table:
        """Predictions in the form of the contract (docs/architecture.md)."""

    @abstractmethod
    def score(self, predictions: pa.Table) -> float:
        """Selection metric on val, higher is better."""

    def selection_predictions(self, model: nn.Module) -> pa.Table:
        """What selection reads: always val; a test split cannot be named here."""
        return self.predict(model, "val")

    def demand_finite(self, scores: Any, item: str) -> None:
        """Raises InputError: of what the model says of an item of the task some number is not finite.

        An argmax or a sort would make a choice of it all the same.
        """
        demand(scores, f"predictions of {self.name}", "the model's scores", NO_CHOICE, item)

    # -- shared ------------------------------------------------------------------------------------------------
    def rows(self, split: str) -> np.ndarray:
        """Rows of the text set in a split."""
        found = np.flatnonzero(self.splits == split)
        if not len(found):
            raise InputError(f"corpus: {self.texts}", f"holds no {split} sample.", "Check the data's splits.")
        return found

    @property
    def dataset(self) -> str:
        """Name of the data set whose samples these are."""
        return self.config.dataset or self.inputs.experiment.data.name

    def items(self, split: str) -> list[str]:
        """Ids of what the predictions of a split are of, each once (`vlp/metrics/items.py`)."""
        return [self.text_set.ids[int(r)] for r in self.rows(split)]

    def _usable(self) -> np.ndarray:
        """True for the texts of the task's data set that speak of the image as the task needs it: no pre-training
        questions among captions."""
        texts, prefix = self.text_set, f"{self.dataset}/"
        usable = np.array([image.startswith(prefix) for image in texts.image_ids], bool)
        return usable if texts.matchable is None else usable & texts.matchable

    def image_ids(self, rows: np.ndarray) -> list[str]:
        return [self.image_of[int(r)] for r in rows]

    def _images(self) -> dict[int, str] | _Own:
        """Image of each row; with `blind` that of another sample's image of the same split, fixed by the seed: what
        selects and is tested shares no image with training here either."""
        texts = self.text_set
        if not self.blind:
            return _Own(texts.image_ids)
        exchanged: dict[int, str] = {}
        for split in sorted(set(self.splits) - {OTHER}):
            rows = self.rows(split)
            images = sorted({texts.image_ids[r] for r in rows})
            if len(images) < 2:
                raise InputError(f"corpus: {self.texts}", f"{split} has one image.", "`blind` needs at least two.")
            order = derangement(len(images), self.seed)
            other = {image: images[order[i]] for i, image in enumerate(images)}
            exchanged.update({int(r): other[texts.image_ids[r]] for r in rows})
        return exchanged

    def batches(self, rows: np.ndarray, size: int = 64) -> list[np.ndarray]:
        """Rows of similar text length together, so that little is padded."""
        order = rows[np.argsort(self.side.reader.sizes(rows), kind="stable")]
        return [order[i : i + size] for i in range(0, len(order), size)]


def check_unseen(task: Task, folder: Path) -> None:
    """Raises InputError: the model of `folder` has seen test images of the task, of the data set that it is run on, in
    pre-training, and that is refused.

    Where a model does not say what it has seen nothing is known, and the results say so.
    """
    from vlp.data.leaks import seen

    tests = {image for image, split in zip(task.text_set.image_ids, task.splits, strict=True) if split == "test"}
    images = task.inputs.identity(tests) if tests and task.config.seen_test_images == "refuse" else None
    found = None if images is None else seen.seen(folder, images, {seen.PRETRAINING})
    if not found:
        return
    names = sorted({match.evaluated for match in found})
    raise InputError(
        folder,
        f"it has seen {len(names)} of the {len(tests)} test images of {task.name} in pre-training, such as {names[0]}.",
        f"Pre-train without them (data.exclusion), or set tasks.{task.name}.seen_test_images: mark.",
    )


class _Own:
    def __init__(self, image_ids: Any) -> None:
        self._ids = image_ids

    def __getitem__(self, row: int) -> str:
        return self._ids[row]


class TrainSamples:
    """A task's train split as the loop's source."""

    def __init__(self, task: Task) -> None:
        self.task, self.rows = task, task.rows("train")

    @property
    def images(self) -> set[str]:
        """What is trained on."""
        return set(self.task.image_ids(self.rows))

    @property
    def lengths(self) -> np.ndarray:
        return self.task.side.reader.sizes(self.rows)

    def ids(self, indices: np.ndarray) -> list[str]:
        return [self.task.text_set.ids[int(r)] for r in self.rows[indices]]

    def batch(self, indices: np.ndarray, draw: Draw) -> Batch:
        rows = self.rows[indices]
        return self.task.side.batch(rows, self.task.image_ids(rows), draw)
