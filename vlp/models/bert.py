"""A BERT directory: what models start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from vlp.errors import InputError
from vlp.files import read_json

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


def read_bert(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """config.json and the tensors without a leading `bert.`; safetensors or pytorch_model.bin (weights only)."""
    config = read_json(folder / "config.json")
    if (folder / "model.safetensors").exists():
        tensors = load_file(folder / "model.safetensors")
    elif (folder / "pytorch_model.bin").exists():
        tensors = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    else:
        raise InputError(folder, "has neither model.safetensors nor pytorch_model.bin.", "Name a BERT directory.")
    renamed = {k.replace("gamma", "weight").replace("beta", "bias"): v for k, v in tensors.items()}
    return config, {k.removeprefix("bert."): v.float() for k, v in renamed.items()}
