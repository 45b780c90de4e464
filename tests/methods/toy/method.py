"""The toy, as the house asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tests.methods.toy.model import Architecture, Head, Toy
from tests.methods.toy.reader import Reader
from tests.methods.toy.steps import Only
from vlp.batching.inputs import Inputs
from vlp.batching.order import DROPOUT, generator
from vlp.config import Experiment
from vlp.files import read_json
from vlp.methods import base
from vlp.models import directory

NAME = "tests.methods.toy"


class Method(base.Method):
    name, title = NAME, "Toy"

    @property
    def tasks(self) -> Mapping[str, type[base.Side]]:
        from tests.methods.toy.tasks import SIDES

        return SIDES

    def new_model(self, inputs: Inputs) -> Toy:
        m, rows = inputs.experiment.model, inputs.vocabulary.word_rows
        torch.manual_seed(int(generator(inputs.experiment.seed, DROPOUT, 2**31).integers(2**62)))
        return Toy(Architecture(size=m.size, pixels=m.pixels, words=m.words, rows=rows))

    def load(self, folder: Path) -> Toy:
        return load(folder)

    def save(
        self, model: nn.Module, folder: Path, vocabulary: Path, inputs: dict[str, Any], lineage: dict[str, str]
    ) -> None:
        assert isinstance(model, Toy)
        config = {"method": NAME, **model.architecture.model_dump()}
        directory.save(model, folder, config, vocabulary, inputs, lineage, self.title)

    def predictor(self, folder: Path, detector: Path | None) -> base.Predictor:
        from tests.methods.toy.infer import Predictor

        return Predictor(folder)

    def describe(self, inputs: Inputs) -> dict[str, Any]:
        return {}

    def decides(self, experiment: Experiment) -> list[Any]:
        return [experiment.model.model_dump()]

    def stage(self, name: str, model: nn.Module, inputs: Inputs) -> base.Work:
        assert isinstance(model, Toy)
        m, o = inputs.experiment.model, inputs.experiment.pretraining.only
        reader = Reader(inputs.corpus.texts("captions"), inputs.pictures, m.words, m.pixels)
        return base.Work(Only(model, o.image_rate, o.momentum, o.queue), reader, {"objectives": ["contrast"]})


def load(folder: Path, head: Head | None = None, head_size: int = 0) -> Toy:
    """The model of a directory; with `head` that head is new where the directory has none."""
    config = read_json(folder / directory.CONFIG)
    stored = Architecture.model_validate({k: v for k, v in config.items() if k != "method"})
    model = Toy(stored if head is None else stored.with_head(head, head_size))
    fresh = [k for k in model.state_dict() if k.startswith("head.")] if stored.head is None else []
    directory.load_strictly(model, directory.read_tensors(folder), folder / directory.WEIGHTS, fresh)
    return model


METHOD = Method()
