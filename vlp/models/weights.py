"""Weights as others publish them: one file or shards, safetensors or torch's; read whole and finite, or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from vlp.errors import InputError
from vlp.files import read_json
from vlp.finite import demand_tensors

NAMES = ("model.safetensors", "pytorch_model.bin")
"""Of a folder's weights, the preferred first; with `.index.json` behind, of the file that names their shards."""
AGAIN = "Fetch it again."
_LFS = b"version https://git-lfs"
_HTML = (b"<!doctype", b"<html")
_WRAPPED = ("state_dict", "model", "module", "model_state_dict")
"""Under which trainings put the weights beside what else they save."""


def files_in(folder: Path, names: Sequence[str] = NAMES) -> list[Path]:
    """The files of a folder's weights: one, or the shards in the order of their names.

    Raises:
        InputError: there are none, or a shard is missing.
    """
    for name in names:
        if (folder / name).exists():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.exists():
            return [folder / shard for shard in sorted(set(_weight_map(index).values()))]
    raise InputError(folder, f"there is no such file as {' or '.join(names)}, whole or in shards.", "Name the folder.")


def read_folder(folder: Path, names: Sequence[str] = NAMES) -> dict[str, Tensor]:
    """The tensors of `files_in`.

    Raises:
        InputError: a file is missing, cut, a pointer of Git LFS or no state dict; a number is not finite; a shard
            lacks a tensor that the index promises, or two have it.
    """
    files = files_in(folder, names)
    tensors: dict[str, Tensor] = {}
    for file in files:
        found = read_file(file)
        if twice := sorted(found.keys() & tensors.keys()):
            raise InputError(file, f"{twice[0]} is in another shard too.", "Fetch the shards of one model again.")
        tensors |= found
    for name in names:
        index = folder / f"{name}.index.json"
        if index.exists() and files != [folder / name]:
            if lacking := sorted(_weight_map(index).keys() - tensors.keys()):
                raise InputError(index, f"its shards lack {_listed(lacking)}.", "Fetch the shards again.")
            break
    return tensors


def read_file(file: Path, remedy: str = AGAIN) -> dict[str, Tensor]:
    """Tensors by name; of torch's files no pickled code is run.

    Raises:
        InputError: as `read_folder`.
    """
    refuse_pointer(file)
    try:
        held: Any = (
            load_file(file)
            if file.suffix == ".safetensors"
            else torch.load(file, map_location="cpu", weights_only=True)
        )
    except FileNotFoundError as error:
        raise InputError(file, "there is no such file.", "Name the folder that holds it.") from error
    except Exception as error:  # pickle, zip and safetensors have a dozen kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(file, f"cannot be read ({reason}).", remedy) from error
    tensors = _plain(held, file)
    demand_tensors(tensors, file, remedy)
    return tensors


def refuse_pointer(file: Path) -> None:
    """Raises InputError: the file is what Git leaves in the place of one that LFS keeps, or a web page."""
    if not file.is_file():
        return
    with file.open("rb") as f:
        head = f.read(64)
    if head.startswith(_LFS):
        problem = "is a pointer of Git LFS, not the file itself."
        raise InputError(file, problem, "Fetch the file: git lfs pull, or by the page's download link.")
    if head.lstrip().lower().startswith(_HTML):
        raise InputError(file, "is a web page, not the file itself.", "Fetch the file by the page's download link.")


def _plain(held: Any, file: Path) -> dict[str, Tensor]:
    """The state dict, also where a training saved it beside other things."""
    if isinstance(held, Mapping):
        for name in _WRAPPED:
            if isinstance(held.get(name), Mapping):
                return _plain(held[name], file)
        tensors = {str(k): v for k, v in held.items() if isinstance(v, Tensor)}
        if tensors and len(tensors) == len(held):
            return tensors
    what = f"a mapping of {_listed(list(map(str, held)))}" if isinstance(held, Mapping) else f"a {type(held).__name__}"
    raise InputError(file, f"holds no plain state dict but {what}.", "Take the file the release saved.")


def _weight_map(index: Path) -> dict[str, str]:
    """Tensor -> file, of the index beside shards."""
    refuse_pointer(index)
    value = read_json(index)
    found = value.get("weight_map") if isinstance(value, dict) else None
    if not isinstance(found, dict) or not found or not all(isinstance(v, str) for v in found.values()):
        raise InputError(index, "names no shards: it has no weight_map.", AGAIN)
    for name in sorted(set(found.values())):
        if Path(name).name != name:
            raise InputError(index, f"the shard {name} is not beside it.", AGAIN)
        if not (index.parent / name).exists():
            raise InputError(index, f"the shard {name} is missing.", "Fetch it into the same folder.")
    return found


def _listed(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
