"""MVPTR's model directories (`vlp/models/directory.py`): its architecture in config.json, phrases, a detector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vlp.config import Experiment
from vlp.errors import InputError
from vlp.files import read_json
from vlp.methods.mvptr.model import Architecture, Head, Mvptr
from vlp.models import directory
from vlp.models.directory import CONFIG, WEIGHTS, load_strictly, read_tensors

TITLE = "MVPTR"
COMPANIONS = ("phrases.json", "detector")
"""What its directories hold besides."""
TRANSFORMERS = {"model_type": "mvptr", "architectures": ["MvptrModel"]}
"""Keys of config.json by which transformers' Auto classes find the model (auto.py)."""
OLD_HEADS = {"answer_head.": "head.vqa.", "entailment_head.": "head.entailment.", "referring_head.": "head.referring."}
"""Beginnings of the tasks' tensors as earlier versions named them."""


def architecture(experiment: Experiment, word_rows: int, phrase_rows: int, region_size: int) -> Architecture:
    m = experiment.model.model_dump(exclude={"init_from"})
    return Architecture(**m, word_rows=word_rows, phrase_rows=phrase_rows, region_size=region_size)


def save(model: Mvptr, folder: Path, vocabulary: Path, inputs: dict[str, Any], lineage: dict[str, str]) -> None:
    """See `vlp.models.directory.save`."""
    config = TRANSFORMERS | model.architecture.model_dump()
    directory.save(model, folder, config, vocabulary, inputs, lineage, TITLE)


def read_architecture(folder: Path) -> Architecture:
    """From config.json; keys that transformers adds when it saves are left out.

    Raises:
        InputError: there is no config.json, or it is not one of this method.
    """
    file = folder / CONFIG
    value = read_json(file)
    if value.get("model_type", "mvptr") != "mvptr":
        raise InputError(file, f"is of a {value['model_type']} model.", "Name a model directory made by vlp.")
    try:
        return Architecture.model_validate({k: v for k, v in value.items() if k in Architecture.model_fields})
    except ValidationError as error:
        fields = ", ".join(sorted({str(e["loc"][0]) for e in error.errors()}))
        raise InputError(file, f"lacks or spoils {fields}.", "Name a model directory made by vlp.") from error


def load(folder: Path, head: Head | None = None, head_size: int = 0) -> Mvptr:
    """The model of a directory; with `head`, that task's head is put on, fresh where the directory has another or none.

    Raises:
        InputError: a tensor is missing, unexpected or of another shape; each is named.
    """
    stored = read_architecture(folder)
    wanted = stored if head is None else stored.model_copy(update={"head": head, "head_size": head_size})
    model = Mvptr(wanted)
    tensors = {renamed(key): value for key, value in read_tensors(folder).items()}
    fresh: set[str] = set()
    if stored.head != wanted.head:
        tensors = {key: value for key, value in tensors.items() if not is_head(key)}
        fresh = {key for key in model.state_dict() if is_head(key)}
    load_strictly(model, tensors, folder / WEIGHTS, fresh)
    return model


def is_head(key: str) -> bool:
    """Of a task."""
    return key.startswith("head.")


def renamed(key: str) -> str:
    """A tensor's name of today, of one in a directory that an earlier version wrote."""
    for old, new in OLD_HEADS.items():
        if key.startswith(old):
            return new + key.removeprefix(old)
    return key
