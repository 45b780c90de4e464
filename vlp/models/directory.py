"""Model directories: config.json, model.safetensors, tokenizer, inputs.json, README.md, and what a method adds."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vlp.config.base import DEFAULT_METHOD
from vlp.errors import InputError
from vlp.files import atomic, read_json, sha256, write_json, write_text

CONFIG, INPUTS, WEIGHTS = "config.json", "inputs.json", "model.safetensors"
COMPANIONS = ("tokenizer", INPUTS, "seen.parquet", "README.md")
"""What every model directory holds beside config and weights."""


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
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).unlink(missing_ok=True)
    write_json(folder / CONFIG, config)
    write_json(folder / INPUTS, inputs)
    if (vocabulary / "phrases.json").exists():
        shutil.copyfile(vocabulary / "phrases.json", folder / "phrases.json")
    shutil.copytree(vocabulary / "tokenizer", folder / "tokenizer", dirs_exist_ok=True)
    lines = [f"| {name} | `{digest}` |" for name, digest in sorted(lineage.items())]
    head = [f"# {title} model", "", "Made by `vlp`; what it was made from:", ""]
    write_text(folder / "README.md", "\n".join([*head, "| input | sha256 |", "|---|---|", *lines]) + "\n")
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


def method_of(folder: Path) -> str:
    """The method whose model a directory holds. Raises InputError: there is no config.json."""
    return str(read_json(folder / CONFIG).get("method", DEFAULT_METHOD))


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Raises InputError: the weights cannot be read."""
    try:
        return load_file(folder / WEIGHTS)
    except Exception as error:
        raise InputError(folder / WEIGHTS, f"cannot be read ({error}).", "Make the model again.") from error


def load_strictly(model: nn.Module, tensors: dict[str, Tensor], file: Path, fresh: Collection[str] = ()) -> None:
    """Copy the tensors into the model.

    Args:
        fresh: keys that may be missing; they keep what was drawn.

    Raises:
        InputError: a tensor is missing, unexpected or of another shape; each is named.
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


def digest(folder: Path) -> str:
    """`checkpoint_sha256` of the results: that of model.safetensors."""
    return sha256(folder / WEIGHTS)
