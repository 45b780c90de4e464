"""What an experiment of the toy sets."""

from typing import ClassVar, Literal

from pydantic import Field

from vlp.config import experiment
from vlp.config.experiment import StageFacts
from vlp.config.model import Model as AnyModel
from vlp.config.training import Plan

SQUARES = 4
"""Of a side of the picture."""


class Model(AnyModel):
    method: Literal["tests.methods.toy"] = "tests.methods.toy"
    size: int = 32
    pixels: int = Field(default=32, multiple_of=SQUARES)
    """Of a side of the picture."""
    words: int = Field(default=20, ge=1)
    """Of a text at most."""


class Stage(Plan):
    momentum: float = Field(default=0.99, ge=0, lt=1)
    """Of the copy that gives the keys."""
    queue: int = Field(default=64, ge=1)
    """Keys that are kept; a multiple of the batch."""
    image_rate: float = Field(default=1.0, gt=0)
    """Factor of the learning rate for what reads pixels."""

    @property
    def keeps_beyond(self) -> bool:
        return True


class Pretraining(experiment.Pretraining):
    only: Stage


class Experiment(experiment.Experiment):
    title: ClassVar[str] = "Toy"
    needs: ClassVar[frozenset[str]] = frozenset({"pixels"})
    stage_facts: ClassVar[tuple[StageFacts, ...]] = (StageFacts("only", "The only stage", stream=1),)

    model: Model = Model()
    pretraining: Pretraining
