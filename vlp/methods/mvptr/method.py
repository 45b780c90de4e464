"""MVPTR: multi-level semantic alignment in two stages (Li et al., ACM Multimedia 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vlp.batching.inputs import Inputs
from vlp.batching.order import DROPOUT, generator
from vlp.config import Experiment
from vlp.errors import ConfigError, InputError
from vlp.files import sha256
from vlp.methods import base
from vlp.methods.mvptr import directory, reader
from vlp.methods.mvptr.initialise import copy_bert, set_phrase_rows
from vlp.methods.mvptr.model import Mvptr, set_dropout
from vlp.methods.mvptr.reader import MaskedPairs
from vlp.methods.mvptr.steps import PretrainingStep
from vlp.phrases.backends import version
from vlp.phrases.tokenizer import bert_directory
from vlp.phrases.vocabulary import PhraseVocabulary
from vlp.training.estimate import Bill, Machines
from vlp.training.probe import Probe


def new_model(inputs: Inputs) -> Mvptr:
    """A model before stage 1: BERT's weights where the config names them, phrase rows from their words."""
    e, v = inputs.experiment, inputs.vocabulary
    torch.manual_seed(int(generator(e.seed, DROPOUT, 2**31).integers(2**62)))
    model = Mvptr(directory.architecture(e, v.word_rows, v.phrase_rows, reader.region_size(inputs)))
    if e.model.init_from is not None:
        copy_bert(model, bert_directory(e.model.init_from))
    phrases = PhraseVocabulary.load(inputs.paths.vocabulary / "phrases.json")
    set_phrase_rows(model, phrases.word_ids(inputs.tokenizer))
    return model


def describe(inputs: Inputs) -> dict[str, Any]:
    """`inputs.json` of a model directory, but for what the detector and the training add."""
    e = inputs.experiment
    return {
        "lengths": e.lengths.model_dump(),
        "parser": e.phrases.parser,
        "parser_version": _version(e.phrases.parser),
        "regions": {"feature_size": inputs.store.feature_size, "class_names": list(inputs.store.class_names)},
        "use_phrases": e.model.use_phrases,
        "use_tags": e.model.use_tags,
    }


def _version(parser: str) -> str | None:
    """None where the parser is not installed: training reads phrases that were mined elsewhere."""
    try:
        return version(parser)
    except ConfigError:
        return None


def digest_of(vocabulary: Path) -> tuple[str, str]:
    """What the ids of a vocabulary mean: digests of its phrases and of its word pieces."""
    return sha256(vocabulary / "phrases.json"), sha256(vocabulary / "tokenizer" / "tokenizer.json")


def check_fits(model: Mvptr, inputs: Inputs, folder: Path) -> None:
    """Raises InputError: the model of `folder` reads other features, or has another vocabulary, than `inputs`."""
    a, remedy = model.architecture, "To start from it here: start_from, with regions of its detector."
    if a.region_size != (size := reader.region_size(inputs)):
        problem = f"a region has {size} numbers in {inputs.paths.regions}, {a.region_size} in the model."
        raise InputError(folder, problem, remedy)
    whole = (folder / "phrases.json").exists() and (folder / "tokenizer" / "tokenizer.json").exists()
    if whole and digest_of(folder) != digest_of(inputs.paths.vocabulary):
        problem = f"its phrases or word pieces are not those of {inputs.paths.vocabulary}."
        raise InputError(folder, problem, remedy)


class Method(base.Method):
    name, title, companions = "mvptr", directory.TITLE, directory.COMPANIONS

    @property
    def tasks(self) -> Mapping[str, type[base.Side]]:
        from vlp.methods.mvptr.tasks import SIDES

        return SIDES

    def new_model(self, inputs: Inputs) -> Mvptr:
        return new_model(inputs)

    def load(self, folder: Path) -> Mvptr:
        return directory.load(folder)

    def save(
        self, model: nn.Module, folder: Path, vocabulary: Path, inputs: dict[str, Any], lineage: dict[str, str]
    ) -> None:
        assert isinstance(model, Mvptr)
        directory.save(model, folder, vocabulary, inputs, lineage)

    def check_fits(self, model: nn.Module, inputs: Inputs, folder: Path) -> None:
        assert isinstance(model, Mvptr)
        check_fits(model, inputs, folder)

    def describe(self, inputs: Inputs) -> dict[str, Any]:
        return describe(inputs)

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

    def cost(self, experiment: Experiment, machines: Machines, counts: Mapping[str, int]) -> Bill | None:
        from vlp.methods.mvptr.cost import bill

        return bill(experiment, machines, counts)


METHOD = Method()
