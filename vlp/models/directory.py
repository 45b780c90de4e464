"""Model directories: config.json, model.safetensors, tokenizer, phrase vocabulary, inputs.json, README.md."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vlp.config import Experiment
from vlp.errors import InputError
from vlp.files import atomic, read_json, sha256, write_json, write_text
from vlp.methods.mvptr.model import Architecture, Head, Mvptr

WEIGHTS = "model.safetensors"
COMPANIONS = ("tokenizer", "phrases.json", "inputs.json", "seen.parquet", "detector", "README.md")
"""What a model directory holds beside config and weights."""
TRANSFORMERS = {"model_type": "mvptr", "architectures": ["MvptrModel"]}
"""Keys of config.json by which transformers' Auto classes find the model (auto.py)."""


def architecture(experiment: Experiment, word_rows: int, phrase_rows: int, region_size: int) -> Architecture:
    m = experiment.model.model_dump(exclude={"init_from"})
    return Architecture(**m, word_rows=word_rows, phrase_rows=phrase_rows, region_size=region_size)


def save(model: Mvptr, folder: Path, vocabulary: Path, inputs: dict[str, Any], lineage: dict[str, str]) -> None:
    """Write a model directory; `model.safetensors` comes last, so a folder that has it is whole.

    Args:
        vocabulary: folder with phrases.json and tokenizer/, copied in.
        inputs: how inputs are made (detector, lengths, parser), for `inputs.json`.
        lineage: name -> digest of what the model was made from, for the card.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).unlink(missing_ok=True)
    write_json(folder / "config.json", TRANSFORMERS | model.architecture.model_dump())
    write_json(folder / "inputs.json", inputs)
    shutil.copyfile(vocabulary / "phrases.json", folder / "phrases.json")
    shutil.copytree(vocabulary / "tokenizer", folder / "tokenizer", dirs_exist_ok=True)
    lines = [f"| {name} | `{digest}` |" for name, digest in sorted(lineage.items())]
    card = ["# MVPTR model", "", "Made by `vlp`; what it was made from:", "", "| input | sha256 |", "|---|---|", *lines]
    write_text(folder / "README.md", "\n".join(card) + "\n")
    tensors = {k: v.detach().to("cpu").contiguous() for k, v in model.state_dict().items()}
    with atomic(folder / WEIGHTS) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})


def publish(made: Path, out: Path) -> None:
    """Put the model directory `made` at `out`, the weights last and, where the file system can, without a copy.

    A workflow removes the outputs of a rule that was killed, and with them the work of a job that went on and finished.
    So jobs write into their run directory, and whoever waits for them calls this.
    """
    (out / WEIGHTS).unlink(missing_ok=True)
    shutil.rmtree(out, ignore_errors=True)
    # Not linked: the others are rewritten in place when a model is made again.
    shutil.copytree(made, out, ignore=shutil.ignore_patterns(WEIGHTS), dirs_exist_ok=True)
    with atomic(out / WEIGHTS) as temporary:
        try:
            temporary.hardlink_to(made / WEIGHTS)
        except OSError:
            shutil.copyfile(made / WEIGHTS, temporary)


def read_architecture(folder: Path) -> Architecture:
    """From config.json; keys that transformers adds when it saves are left out.

    Raises:
        InputError: there is no config.json, or it is not one of this method.
    """
    file = folder / "config.json"
    value = read_json(file)
    if value.get("model_type", "mvptr") != "mvptr":
        raise InputError(file, f"is of a {value['model_type']} model.", "Name a model directory made by vlp.")
    try:
        return Architecture.model_validate({k: v for k, v in value.items() if k in Architecture.model_fields})
    except ValidationError as error:
        fields = ", ".join(sorted({str(e["loc"][0]) for e in error.errors()}))
        raise InputError(file, f"lacks or spoils {fields}.", "Name a model directory made by vlp.") from error


def load(folder: Path, head: Head | None = None, head_size: int = 0) -> Mvptr:
    """The model of a directory; with `head`, a fresh task head is put on where the directory has none.

    Raises:
        InputError: a tensor is missing, unexpected or of another shape; each is named.
    """
    stored = read_architecture(folder)
    wanted = stored if head is None else stored.model_copy(update={"head": head, "head_size": head_size})
    model = Mvptr(wanted)
    try:
        tensors = load_file(folder / WEIGHTS)
    except Exception as error:
        raise InputError(folder / WEIGHTS, f"cannot be read ({error}).", "Make the model again.") from error
    fresh = set() if stored.head == wanted.head else {k for k in model.state_dict() if is_head(k)}
    load_strictly(model, tensors, folder / WEIGHTS, fresh)
    return model


def is_head(key: str) -> bool:
    return key.startswith(("answer_", "entailment_"))


def load_strictly(model: Mvptr, tensors: dict[str, Tensor], file: Path, fresh: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    own = model.state_dict()
    problems = [f"missing {k}" for k in own if k not in tensors and k not in fresh]
    problems += [f"unexpected {k}" for k in tensors if k not in own]
    problems += [
        f"{k} has shape {tuple(tensors[k].shape)}, wanted {tuple(own[k].shape)}"
        for k in own
        if k in tensors and tensors[k].shape != own[k].shape
    ]
    if problems:
        raise InputError(file, "; ".join(problems[:8]) + ".", "Use the config this model was made with.")
    with torch.no_grad():
        for key, value in tensors.items():
            own[key].copy_(value)


def digest(folder: Path) -> str:
    """`checkpoint_sha256` of the results: that of model.safetensors."""
    return sha256(folder / WEIGHTS)
