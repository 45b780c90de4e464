"""Initialisation from BERT (paper 4.1), of phrase rows (3.1.1) and of answer rows (A.3.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlp.errors import InputError
from vlp.methods.mvptr.model import Mvptr
from vlp.models.bert import LAYER_KEYS, read_bert


def copy_bert(model: Mvptr, folder: Path) -> list[str]:
    """Text and visual encoder from the first layers, multimodal from the last ones; embeddings (paper 4.1).

    Returns the names of the tensors that were set. Rows of a larger vocabulary are cut, missing ones left as drawn.
    """
    config, bert = read_bert(folder)
    a, depth = model.architecture, config["num_hidden_layers"]
    for ours, theirs in ((a.hidden_size, "hidden_size"), (a.intermediate_size, "intermediate_size")):
        if ours != config[theirs]:
            raise InputError(folder, f"{theirs} is {config[theirs]}, the model's is {ours}.", "Set model.* to fit it.")
    if max(a.text_layers, a.visual_layers) > depth or a.multimodal_layers > depth:
        raise InputError(folder, f"has {depth} layers.", "Use fewer layers in each encoder.")
    own, done = model.state_dict(), []

    def put(key: str, value: Tensor) -> None:
        own[key].copy_(value)
        done.append(key)

    with torch.no_grad():
        rows = min(a.word_rows, len(bert["embeddings.word_embeddings.weight"]))
        own["embeddings.weight"][:rows] = bert["embeddings.word_embeddings.weight"][:rows]
        done.append("embeddings.weight")
        n = min(a.max_positions, len(bert["embeddings.position_embeddings.weight"]))
        own["positions.weight"][:n] = bert["embeddings.position_embeddings.weight"][:n]
        done.append("positions.weight")
        put("types.weight", bert["embeddings.token_type_embeddings.weight"])
        for part in ("weight", "bias"):
            put(f"embedding_norm.{part}", bert[f"embeddings.LayerNorm.{part}"])
            if f"pooler.dense.{part}" in bert:
                put(f"pooler.{part}", bert[f"pooler.dense.{part}"])
        firsts = (("text_encoder", a.text_layers, 0), ("visual_encoder", a.visual_layers, 0))
        for name, layers, start in (*firsts, ("multimodal_encoder", a.multimodal_layers, depth - a.multimodal_layers)):
            for i in range(layers):
                for theirs, ours in LAYER_KEYS.items():
                    for part in ("weight", "bias"):
                        put(f"{name}.layers.{i}.{ours}.{part}", bert[f"encoder.layer.{start + i}.{theirs}.{part}"])
    return done


def set_phrase_rows(model: Mvptr, word_ids: list[list[int]]) -> None:
    """Each phrase row is the mean of its words' rows (paper 3.1.1)."""
    table = model.embeddings.weight
    with torch.no_grad():
        for row, ids in enumerate(word_ids, start=model.architecture.word_rows):
            if ids:
                table[row] = table[ids].mean(0)


def set_answer_rows(model: Mvptr, answer_ids: list[list[int]]) -> None:
    """Rows and biases: means of the MLM head's over each answer's tokens; the transform is copied (A.3.2)."""
    head: Any = model.head["vqa"]
    table = head.table
    assert table is not None
    words = model.mlm_head.table if model.mlm_head.table is not None else model.embeddings.weight
    with torch.no_grad():
        for part in ("dense", "norm"):
            getattr(head, part).load_state_dict(getattr(model.mlm_head, part).state_dict())
        for row, ids in enumerate(answer_ids):
            if ids:
                table[row] = words[ids].mean(0)
                head.bias[row] = model.mlm_head.bias[ids].mean()
