"""What a training or a prediction starts from: a fresh model, what is said of its inputs, whether these fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from vlp.batching.inputs import Inputs
from vlp.batching.order import DROPOUT, generator
from vlp.errors import ConfigError, InputError
from vlp.files import sha256
from vlp.methods.mvptr import directory, reader
from vlp.methods.mvptr.initialise import copy_bert, set_phrase_rows
from vlp.methods.mvptr.model import Mvptr
from vlp.models.bert import check_words
from vlp.models.directory import check_words as check_rows
from vlp.phrases.backends import version
from vlp.phrases.tokenizer import bert_directory
from vlp.phrases.vocabulary import PhraseVocabulary


def new_model(inputs: Inputs) -> Mvptr:
    """A model before stage 1: BERT's weights where the config names them, phrase rows from their words."""
    e, v = inputs.experiment, inputs.vocabulary
    torch.manual_seed(int(generator(e.seed, DROPOUT, 2**31).integers(2**62)))
    model = Mvptr(directory.architecture(e, v.word_rows, v.phrase_rows, reader.region_size(inputs)))
    if e.model.init_from is not None:
        start = bert_directory(e.model.init_from)
        check_words(start, inputs.paths.vocabulary / "tokenizer")
        copy_bert(model, start)
    phrases = PhraseVocabulary.load(inputs.paths.vocabulary / "phrases.json")
    check_rows(model, inputs.paths.vocabulary)
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
