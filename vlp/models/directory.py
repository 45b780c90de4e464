"""Model directories: config.json, model.safetensors, tokenizer, inputs.json, README.md, and what a method adds."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vlp.config.base import DEFAULT_METHOD
from vlp.errors import InputError
from vlp.files import atomic, read_json, sha256, write_json, write_text
from vlp.finite import demand_tensors
from vlp.models import weights
from vlp.phrases import pieces
from vlp.phrases.vocabulary import PhraseVocabulary

CONFIG, INPUTS, WEIGHTS = "config.json", "inputs.json", "model.safetensors"
COMPANIONS = ("tokenizer", INPUTS, "seen.parquet", "README.md")
"""What every model directory holds beside config and weights."""
PHRASES = "phrases.json"
_AGAIN = "Make the model again."


class Worded(Protocol):
    """What a method's model says of its table of embeddings: `save` and `load_strictly` compare it with the files."""

    @property
    def word_rows(self) -> int:
        """Rows for word pieces, the first ones."""
        ...

    @property
    def phrase_rows(self) -> int:
        """Rows for phrases, which follow them; 0: it reads none."""
        ...


def save(
    model: nn.Module,
    folder: Path,
    config: dict[str, Any],
    vocabulary: Path,
    inputs: dict[str, Any],
    lineage: dict[str, str],
    title: str,
) -> None:
    """Write a model directory; `model.safetensors` comes last, so a folder that has it is whole.

    Args:
        config: all that is needed to build the module; `method` says whose it is.
        vocabulary: folder with tokenizer/ and, where there are phrases, phrases.json, copied in.
        inputs: how inputs are made, for `inputs.json`.
        lineage: name -> digest of what the model was made from, for the card.
        title: of the method.

    Raises:
        InputError: a weight is not finite; the vocabulary does not fit the model's rows. Nothing is written.
    """
    tensors = {k: v.detach().to("cpu").contiguous() for k, v in model.state_dict().items()}
    demand_tensors(tensors, folder / WEIGHTS, "It is not written. Look at the training's losses, or at its start.")
    check_words(model, vocabulary)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).unlink(missing_ok=True)
    write_json(folder / CONFIG, config)
    write_json(folder / INPUTS, inputs)
    if (vocabulary / PHRASES).exists():
        shutil.copyfile(vocabulary / PHRASES, folder / PHRASES)
    shutil.copytree(vocabulary / "tokenizer", folder / "tokenizer", dirs_exist_ok=True)
    lines = [f"| {name} | `{digest}` |" for name, digest in sorted(lineage.items())]
    head = [f"# {title} model", "", "Made by `vlp`; what it was made from:", ""]
    write_text(folder / "README.md", "\n".join([*head, "| input | sha256 |", "|---|---|", *lines]) + "\n")
    with atomic(folder / WEIGHTS) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})


def publish(made: Path, out: Path) -> None:
    """Put the model directory `made` at `out`, the weights last and, where the file system can, without a copy.

    A workflow removes the outputs of a rule that was killed, and with them the work of a job that went on and finished.
    So jobs write into their run directory, and whoever waits for them calls this.

    Raises:
        InputError: a weight is not finite, or the file is damaged.
    """
    read_tensors(made)
    (out / WEIGHTS).unlink(missing_ok=True)
    shutil.rmtree(out, ignore_errors=True)
    # Not linked: the others are rewritten in place when a model is made again.
    shutil.copytree(made, out, ignore=shutil.ignore_patterns(WEIGHTS), dirs_exist_ok=True)
    with atomic(out / WEIGHTS) as temporary:
        try:
            temporary.hardlink_to(made / WEIGHTS)
        except OSError:
            shutil.copyfile(made / WEIGHTS, temporary)


def method_of(folder: Path) -> str:
    """The method whose model a directory holds. Raises InputError: there is no config.json."""
    return str(read_json(folder / CONFIG).get("method", DEFAULT_METHOD))


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Raises InputError: the weights cannot be read, or some are not finite."""
    return weights.read_file(folder / WEIGHTS, _AGAIN)


def load_strictly(model: nn.Module, tensors: dict[str, Tensor], file: Path, fresh: Collection[str] = ()) -> None:
    """Copy the tensors into the model.

    Args:
        file: that they are of, in a model directory.
        fresh: keys that may be missing; they keep what was drawn.

    Raises:
        InputError: a tensor is missing, unexpected or of another shape; each is named. The directory's word pieces or
            phrases are not those that the model has rows for.
    """
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
    if (file.parent / "tokenizer").is_dir():
        check_words(model, file.parent)


def check_words(model: nn.Module, folder: Path) -> None:
    """Raises InputError: `tokenizer/` or `phrases.json` in the folder have other ids than the model has rows."""
    worded = cast(Worded, model)
    words, rows = worded.word_rows, worded.word_rows + worded.phrase_rows
    phrases = PhraseVocabulary.load(folder / PHRASES) if (folder / PHRASES).exists() else None
    if phrases is not None and phrases.rows != rows:
        problem = (
            f"is of a table of {phrases.rows} rows, the model has {rows}: {words} for words, the rest for phrases."
        )
        raise InputError(folder / PHRASES, problem, "Take the phrases that the model was made with.")
    pieces.check_rows(folder, words, () if phrases is None else pieces.fed(phrases), rows)


def digest(folder: Path) -> str:
    """`checkpoint_sha256` of the results: that of model.safetensors."""
    return sha256(folder / WEIGHTS)
