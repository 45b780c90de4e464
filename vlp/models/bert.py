"""A BERT directory: what models start from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from vlp.errors import InputError
from vlp.files import read_json
from vlp.models import weights
from vlp.phrases import pieces

LAYER_KEYS = {
    "attention.self.query": "attention.query",
    "attention.self.key": "attention.key",
    "attention.self.value": "attention.value",
    "attention.output.dense": "attention.output",
    "attention.output.LayerNorm": "attention.norm",
    "intermediate.dense": "intermediate",
    "output.dense": "output",
    "output.LayerNorm": "norm",
}
"""BERT's names in `encoder.layer.N` -> those of a `Layer` (`vlp/models/layers.py`)."""
WORDS = "embeddings.word_embeddings.weight"
_SIZES = ("num_hidden_layers", "hidden_size", "intermediate_size")
_REMEDY = "Name the directory of a BERT model, as transformers saves it."


class Tensors(dict[str, Tensor]):
    """By name; one that is asked for and missing is an error of the directory."""

    def __init__(self, folder: Path, tensors: dict[str, Tensor]) -> None:
        super().__init__(tensors)
        self.folder = folder

    def __missing__(self, name: str) -> Tensor:
        raise InputError(self.folder, f"has no tensor {name}.", _REMEDY)


def read_bert(folder: Path) -> tuple[dict[str, Any], Tensors]:
    """config.json and the tensors of the encoder, named from `embeddings.` and `encoder.` on, as float32.

    What stands before these names (`bert.`, `module.bert.`, `text_model.`) is read off the word rows' own name.

    Raises:
        InputError: a file is missing or damaged, a weight is not finite, config.json is not a BERT's or lacks a size,
            no or several tensors are word rows.
    """
    weights.refuse_pointer(folder / "config.json")
    config = read_json(folder / "config.json")
    if not isinstance(config, dict):
        raise InputError(folder / "config.json", "holds no mapping.", _REMEDY)
    if (kind := config.get("model_type", "bert")) != "bert":
        raise InputError(folder / "config.json", f"is of a {kind} model, not of a BERT.", _REMEDY)
    for name in _SIZES:
        if not isinstance(config.get(name), int):
            raise InputError(folder / "config.json", f"{name} is {config.get(name)!r}, not a count.", _REMEDY)
    tensors = {modern(k): v for k, v in weights.read_folder(folder).items()}
    prefixes = sorted(k.removesuffix(WORDS) for k in tensors if re.search(rf"(^|\.){re.escape(WORDS)}$", k))
    if len(prefixes) != 1:
        found = ", ".join(p + WORDS for p in prefixes) or f"such as {', '.join(sorted(tensors)[:3])}"
        many = "several BERTs" if prefixes else f"no {WORDS} among its {len(tensors)} tensors"
        raise InputError(folder, f"has {many} ({found}).", _REMEDY)
    start = prefixes[0]
    return config, Tensors(
        folder, {k.removeprefix(start): v.float() for k, v in tensors.items() if k.startswith(start)}
    )


def check_words(folder: Path, tokenizer: Path) -> None:
    """Whether row i of a BERT directory's words is that of the piece with the id i.

    Raises:
        InputError: the directory's own tokenizer gives other pieces.
    """
    theirs, ours = (pieces.read(f) if _has_tokenizer(f) else None for f in (folder, tokenizer))
    if theirs is None or ours is None or theirs == ours:
        return
    at = next((i for i, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b), min(len(theirs), len(ours)))
    here, there = (repr(p[at]) if at < len(p) else "nothing" for p in (theirs, ours))
    problem = f"its word rows are those of other pieces: the id {at} is {here} there, {there} in {tokenizer}"
    remedy = "Set vocabulary.tokenizer to this directory, or start from a BERT of that tokenizer."
    raise InputError(folder, f"{problem} ({len(theirs)} and {len(ours)} pieces).", remedy)


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (pieces.TOKENIZER, pieces.VOCABULARY))


def modern(name: str) -> str:
    """The name of a tensor today: old ones end in gamma and beta."""
    return re.sub(r"(^|\.)gamma$", r"\1weight", re.sub(r"(^|\.)beta$", r"\1bias", name))
