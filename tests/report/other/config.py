"""What an experiment of the made-up method sets."""

from typing import ClassVar, Literal

from vlp.config import experiment
from vlp.config.experiment import StageFacts
from vlp.config.model import Model as AnyModel
from vlp.config.training import Optimisation


class Model(AnyModel):
    method: Literal["tests.report.other"] = "tests.report.other"


class Pretraining(experiment.Pretraining):
    only: Optimisation


class Experiment(experiment.Experiment):
    title: ClassVar[str] = "Other"
    stage_facts: ClassVar[tuple[StageFacts, ...]] = (StageFacts("only", "The only stage", stream=1),)

    model: Model = Model()
    pretraining: Pretraining
