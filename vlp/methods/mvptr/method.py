"""MVPTR: multi-level semantic alignment in two stages (Li et al., ACM Multimedia 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from vlp.batching.inputs import Inputs, Paths
from vlp.config import Experiment
from vlp.methods import base
from vlp.methods.mvptr import directory, reader, start
from vlp.methods.mvptr.model import Mvptr, set_dropout
from vlp.methods.mvptr.reader import MaskedPairs
from vlp.methods.mvptr.steps import PretrainingStep
from vlp.methods.mvptr.tasks import SIDES
from vlp.training.estimate import Bill, Machines
from vlp.training.probe import Probe


class Method(base.Method):
    name, title = "mvptr", directory.TITLE
    companions_needed = ("phrases.json",)

    tasks = SIDES

    def new_model(self, inputs: Inputs) -> Mvptr:
        return start.new_model(inputs)

    def load(self, folder: Path) -> Mvptr:
        return directory.load(folder)

    def save(
        self, model: nn.Module, folder: Path, vocabulary: Path, inputs: dict[str, Any], lineage: dict[str, str]
    ) -> None:
        assert isinstance(model, Mvptr)
        directory.save(model, folder, vocabulary, inputs, lineage)

    def describe(self, inputs: Inputs) -> dict[str, Any]:
        return start.describe(inputs)

    def decides(self, experiment: Experiment) -> list[Any]:
        e = experiment
        return [e.masking.model_dump(), e.lengths.model_dump(), e.model.model_dump(), e.pretraining.tag_source]

    def stage(self, name: str, model: nn.Module, inputs: Inputs) -> base.Work:
        assert isinstance(model, Mvptr)
        e = inputs.experiment
        o = getattr(e.pretraining, name)
        set_dropout(model, e.model.dropout if o.dropout is None else o.dropout)
        step = PretrainingStep(model, o.losses, o.contrast_group, o.wpg_negatives)
        collator = reader.collator(inputs, "captions", tag_source=e.pretraining.tag_source)
        said = {"objectives": list(o.losses), "tag_source": e.pretraining.tag_source}
        return base.Work(step, MaskedPairs(collator, e.masking, o.negative_warmup, o.negative_group), said)

    def probe(self, name: str, model: nn.Module, inputs: Inputs) -> Probe | None:
        """The alignment by level; None: the config wants nothing measured, or val has nothing to measure."""
        from vlp.methods.mvptr.alignment import Alignment

        assert isinstance(model, Mvptr)
        settings, losses = inputs.experiment.pretraining.alignment, getattr(inputs.experiment.pretraining, name).losses
        if not settings.every:
            return None
        cross_modal = bool({"mlm", "itm", "wpg"} & set(losses))
        asked = Alignment(inputs, settings.images, cross_modal=cross_modal, matching="itm" in losses)
        return Probe("alignment", partial(asked.measure, model), settings.every, asked.about) if asked.levels else None

    def figures(self, experiment: Experiment, paths: Paths, model: Path) -> dict[str, Any]:
        from vlp.methods.mvptr.figures import probe

        return probe(experiment, paths, model)

    def cost(self, experiment: Experiment, machines: Machines, counts: Mapping[str, int]) -> Bill | None:
        from vlp.methods.mvptr.cost import bill

        return bill(experiment, machines, counts)

    def predictor(self, folder: Path, detector: Path | None) -> base.Predictor:
        from vlp.methods.mvptr.infer.predictor import Predictor

        return Predictor(folder, detector)


METHOD = Method()
