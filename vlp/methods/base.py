"""What a method is to the rest of the house: small capabilities that training, tasks, inference and report call.

What rules must know without torch stands in the method's `Experiment` (`vlp/config/experiment.py`): its stages, what it
needs, which tasks a pre-trained model answers without fine-tuning.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from torch import Tensor, nn

from vlp.errors import InputError
from vlp.methods.answers import Said

if TYPE_CHECKING:
    from PIL.Image import Image

    from vlp.batching.batch import Batch
    from vlp.batching.draw import Draw
    from vlp.batching.inputs import Inputs, Paths
    from vlp.config import Experiment
    from vlp.phrases.corpus import TextSet
    from vlp.training.estimate import Bill, Machines
    from vlp.training.probe import Probe


class Reader(Protocol):
    """Makes the batches of a method from corpus, tables and stores."""

    @property
    def texts(self) -> TextSet:
        """The text set whose rows it reads."""
        ...

    def sizes(self, rows: np.ndarray) -> np.ndarray:
        """Length of each text: samples of similar length share a batch."""
        ...

    def batch(self, rows: np.ndarray, images: Sequence[str], draw: Draw | None = None) -> Batch:
        """Texts `rows` with the images `images`: as they are, or, with `draw`, as a step of training sees them."""
        ...


@dataclass(frozen=True)
class Work:
    """What a stage of pre-training trains."""

    step: nn.Module
    """A `StepModule` (`vlp/training/base.py`)."""
    reader: Reader
    said: Mapping[str, Any]
    """What `inputs.json` of the model says of the stage: `objectives`, the losses that it trains, and more."""


class Side(ABC):
    """A method's side of one task: its head, its loss, its batches. The capability says how it predicts.

    `task` (`vlp/tasks/base.py`) is the other side: samples, exchange of images, targets, tables of predictions.
    """

    reader: Reader

    def __init__(self, task: Any) -> None:
        self.task = task

    @abstractmethod
    def new(self, init: Path | None) -> nn.Module:
        """The model at the start of a fine-tuning, its head initialised: from a model directory, or from scratch."""

    @abstractmethod
    def load(self, folder: Path) -> nn.Module:
        """A fine-tuned model, to predict with; of a task that needs no fine-tuning also a pre-trained one.

        Raises:
            InputError: it reads other inputs than those at hand.
        """

    @abstractmethod
    def step(self, model: nn.Module) -> nn.Module:
        """The `StepModule` of fine-tuning."""

    @abstractmethod
    def batch(self, rows: np.ndarray, images: Sequence[str], draw: Draw | None = None) -> Batch:
        """With `draw` a batch of fine-tuning, with its targets; else one to predict from."""

    def describe(self, model: nn.Module) -> dict[str, Any]:
        """What `inputs.json` of the fine-tuned model says of the task."""
        return {}


class Scorer(Protocol):
    """Images and texts of a split, encoded once."""

    coarse_IS: np.ndarray | None
    """[images, texts] float32, higher is better: what orders candidates cheaply; None: nothing does."""

    def match(self, pairs_N2: np.ndarray) -> np.ndarray:
        """Match score [N] float32 of (image, text) pairs, higher is better."""
        ...


class Retriever(Side):
    @abstractmethod
    def scorer(self, model: nn.Module, rows: np.ndarray, images: Sequence[str]) -> Scorer: ...


class Classifier(Side):
    @abstractmethod
    def scores(self, model: nn.Module, batch: Batch) -> Tensor:
        """[B,A]: logits of the task's answers or classes; the highest is the prediction."""


RANKED = 10
"""So many boxes of a phrase are kept: R@10 is the deepest measure."""


@dataclass(frozen=True)
class Ranked:
    """The boxes that a model gives a phrase, best first."""

    boxes_K4: np.ndarray
    """xyxy, pixels of the original image, float32; K >= 1, and no more than `RANKED` are read."""
    candidates_R4: np.ndarray | None
    """The regions that it chose from; None: it gives boxes of its own."""
    scores_K: np.ndarray | None
    """What it ranked them by, higher is better; None: it says its boxes outright. Not finite: no box was chosen."""


class Grounder(Side):
    def readings(self, model: nn.Module) -> Sequence[Any]:
        """Ways to read a phrase off the states, whose `str` names them; the trained one stands first.

        Of several the best on val is chosen. One alone: nothing is chosen.
        """
        return ("",)

    @abstractmethod
    def boxes(
        self, model: nn.Module, rows: np.ndarray, images: Sequence[str], readings: Sequence[Any]
    ) -> list[list[list[Ranked]]]:
        """[row][phrase][reading] of these texts with these images; phrases as `task.phrases(row)` lists them."""


class Predictor(Protocol):
    """A model directory put to use on raw images and texts (`vlp/infer`)."""

    @property
    def model(self) -> nn.Module: ...

    @property
    def abilities(self) -> frozenset[str]:
        """The parts of an answer (`vlp/methods/answers.py`) that the model was trained for."""
        ...

    @property
    def remedy(self) -> str:
        """Which model of the method is trained for more: the end of an error's advice; may be empty."""
        ...

    def answer(
        self, picture: Image | None, name: str, text: str, regions: str | Path | None, image_id: str | None, top_k: int
    ) -> Said:
        """The parts that the model was trained for.

        Args:
            name: of the image, for errors.
            regions, image_id: a region store in place of the picture; a method without regions refuses them.
            top_k: so many words for each mask, and answers.
        """
        ...

    def batch(self, picture: Image, text: str) -> Batch:
        """The model's input."""
        ...

    def see(self, picture: Image) -> Any:
        """What the model reads of a picture, to be searched later."""
        ...

    def gallery(self, seen: Mapping[str, Any]) -> Any:
        """Of pictures by name: what `scorer` reads."""
        ...

    def open(self, regions: Path) -> Any:
        """The same of a region store, with `image_ids`. Raises InputError: the method reads none, or not this one."""
        ...

    def scorer(self, texts: Sequence[str], gallery: Any, images: Sequence[str]) -> Scorer:
        """Of these texts and images of the gallery."""
        ...


class Method(ABC):
    """A way to pre-train and fine-tune. One object a method; it holds no state."""

    name: ClassVar[str]
    title: ClassVar[str]
    """As the paper writes it."""
    companions_needed: ClassVar[tuple[str, ...]] = ()
    """Files of its model directories, beside config, weights and `inputs.json`, without which one is not whole."""
    tasks: Mapping[str, type[Side]]
    """Its side of each task that it can do."""

    # -- models -------------------------------------------------------------------------------------------------
    @abstractmethod
    def new_model(self, inputs: Inputs) -> nn.Module:
        """A model before the first stage."""

    @abstractmethod
    def load(self, folder: Path) -> nn.Module:
        """The model of a directory.

        Raises:
            InputError: a tensor is missing, unexpected or of another shape; each is named.
        """

    @abstractmethod
    def describe(self, inputs: Inputs) -> dict[str, Any]:
        """`inputs.json` of a model directory, but for what the training adds."""

    @abstractmethod
    def save(
        self, model: nn.Module, folder: Path, vocabulary: Path, inputs: dict[str, Any], lineage: dict[str, str]
    ) -> None:
        """Write a model directory (`vlp/models/directory.py`); the arguments are those of its `save`."""

    # -- training -----------------------------------------------------------------------------------------------
    @abstractmethod
    def decides(self, experiment: Experiment) -> list[Any]:
        """The parts of the config that a stage depends on beside its own: a checkpoint of others is not used."""

    @abstractmethod
    def stage(self, name: str, model: nn.Module, inputs: Inputs) -> Work: ...

    def probe(self, name: str, model: nn.Module, inputs: Inputs) -> Probe | None:
        """What a stage is asked on the way; None: nothing."""
        return None

    # -- afterwards ---------------------------------------------------------------------------------------------
    def figures(self, experiment: Experiment, paths: Paths, model: Path) -> dict[str, Any]:
        """`figures.json`: what figures of the paper show, of a pre-trained model; empty: there are none.

        `attention`, `grounding` and `embedding` are drawn by the report (`vlp/report/gallery.py`), with the words of
        the method's `FACTS.figures`; of each a list, see `vlp/methods/mvptr/figures.py`.
        """
        return {}

    def cost(self, experiment: Experiment, machines: Machines, counts: Mapping[str, int]) -> Bill | None:
        """What an experiment will cost, before anything is run; None: the method does not say.

        Args:
            counts: train rows of each table and all `images`, as far as they are known.
        """
        return None

    # -- use ----------------------------------------------------------------------------------------------------
    def predictor(self, folder: Path, detector: Path | None) -> Predictor:
        """Of a model directory.

        Args:
            detector: folder of the detector, for a directory that does not carry the one it needs.

        Raises:
            InputError: the method offers none.
        """
        raise InputError(folder, f"{self.title} answers nothing on raw images.", "Use a model of another method.")
