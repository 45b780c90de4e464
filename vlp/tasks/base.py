"""What every downstream task shares: its samples, its model, and the exchange of images for `blind`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from vlp.batching.draw import Draw
from vlp.batching.inputs import Inputs
from vlp.batching.order import derangement
from vlp.errors import InputError
from vlp.files import sha256
from vlp.methods.mvptr.batch import Batch
from vlp.methods.mvptr.model import Head, Mvptr
from vlp.methods.mvptr.reader import Collator

if TYPE_CHECKING:
    import pyarrow as pa


OTHER = ""
"""In place of the split: the text is of no use to the task."""


class Task(ABC):
    """One downstream task: head, loss, inference and selection in one place."""

    name: ClassVar[str]
    texts: ClassVar[str]
    """Text set of the corpus."""
    head: ClassVar[Head | None] = None

    def __init__(self, inputs: Inputs, config: Any, blind: bool) -> None:
        """Raises InputError: `inputs` would give ground-truth tags, which tell of the image what is to be found."""
        if inputs.tag_source != "detector":
            raise InputError(
                inputs.paths.corpus,
                f"the task {self.name} is fine-tuned and evaluated with the detector's tags, not {inputs.tag_source}.",
                "Only pre-training may read ground-truth tags (pretraining.tag_source).",
            )
        self.inputs, self.config, self.blind = inputs, config, blind
        self.lengths = config.lengths or inputs.experiment.lengths
        self.collator: Collator = inputs.collator(self.texts, self.lengths)
        self.splits = np.where(self._usable(), np.asarray(self.collator.texts.splits), OTHER)
        self.seed = inputs.experiment.seed
        self.image_of = self._images()

    # -- what a task says of itself ----------------------------------------------------------------------------
    @property
    def head_size(self) -> int:
        return 0

    def describe(self, model: Mvptr) -> dict[str, Any]:
        """What `inputs.json` of the fine-tuned model says of the task."""
        return {"objectives": [self.name], "lengths": self.lengths.model_dump()}

    def prepare(self, model: Mvptr) -> None:  # noqa: B027  (most tasks have nothing to prepare)
        """Initialise the head of a fresh fine-tuning."""

    def adopt(self, said: Mapping[str, Any]) -> None:  # noqa: B027
        """Take over what the `inputs.json` of a fine-tuned model says of the task, before it predicts."""

    @abstractmethod
    def step(self, model: Mvptr) -> torch.nn.Module: ...

    @abstractmethod
    def train_batch(self, rows: np.ndarray, draw: Draw) -> Batch:
        """The batch of these rows of the text set, as `draw` says."""

    @abstractmethod
    def predict(self, model: Mvptr, split: str) -> pa.Table:
        """Predictions in the form of the contract (docs/architecture.md)."""

    @abstractmethod
    def score(self, predictions: pa.Table) -> float:
        """Selection metric on val, higher is better."""

    def selection_predictions(self, model: Mvptr) -> pa.Table:
        """What selection reads: always val; a test split cannot be named here."""
        return self.predict(model, "val")

    # -- shared ------------------------------------------------------------------------------------------------
    def rows(self, split: str) -> np.ndarray:
        """Rows of the text set in a split."""
        found = np.flatnonzero(self.splits == split)
        if not len(found):
            raise InputError(f"corpus: {self.texts}", f"holds no {split} sample.", "Check the data's splits.")
        return found

    def _usable(self) -> np.ndarray:
        """True for the texts of the task's data set that speak of the image as the task needs it: no pre-training
        questions among captions."""
        texts, prefix = self.collator.texts, f"{self.config.dataset or self.inputs.experiment.data.name}/"
        usable = np.array([image.startswith(prefix) for image in texts.image_ids], bool)
        return usable if texts.matchable is None else usable & texts.matchable

    def image_ids(self, rows: np.ndarray) -> list[str]:
        return [self.image_of[int(r)] for r in rows]

    def _images(self) -> dict[int, str] | _Own:
        """Image of each row; with `blind` that of another sample's image of the same split, fixed by the seed: what
        selects and is tested shares no image with training here either."""
        texts = self.collator.texts
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
        order = rows[np.argsort(self.collator.text_lengths(rows), kind="stable")]
        return [order[i : i + size] for i in range(0, len(order), size)]


def check_fits(model: Mvptr, inputs: Inputs, folder: Path) -> None:
    """Raises InputError: the model of `folder` reads other features, or has another vocabulary, than `inputs`."""
    a, remedy = model.architecture, "To start from it here: start_from, with regions of its detector."
    if a.region_size != inputs.region_size:
        problem = f"a region has {inputs.region_size} numbers in {inputs.paths.regions}, {a.region_size} in the model."
        raise InputError(folder, problem, remedy)
    whole = (folder / "phrases.json").exists() and (folder / "tokenizer" / "tokenizer.json").exists()
    if whole and digest_of(folder) != digest_of(inputs.paths.vocabulary):
        problem = f"its phrases or word pieces are not those of {inputs.paths.vocabulary}."
        raise InputError(folder, problem, remedy)


def check_unseen(task: Task, folder: Path) -> None:
    """Raises InputError: the model of `folder` has seen test images of the task, of the data set that it is run on, in
    pre-training, and that is refused.

    Where a model does not say what it has seen nothing is known, and the results say so.
    """
    from vlp.data.leaks import seen

    tests = {image for image, split in zip(task.collator.texts.image_ids, task.splits, strict=True) if split == "test"}
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


def digest_of(vocabulary: Path) -> tuple[str, str]:
    """What the ids of a vocabulary mean: digests of its phrases and of its word pieces."""
    return sha256(vocabulary / "phrases.json"), sha256(vocabulary / "tokenizer" / "tokenizer.json")


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
        return self.task.collator.text_lengths(self.rows)

    def ids(self, indices: np.ndarray) -> list[str]:
        return [self.task.collator.texts.ids[int(r)] for r in self.rows[indices]]

    def batch(self, indices: np.ndarray, draw: Draw) -> Batch:
        return self.task.train_batch(self.rows[indices], draw)


def device_of(model: torch.nn.Module) -> torch.device:
    return next(model.parameters()).device
