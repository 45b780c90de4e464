"""Initialisation from BERT (paper 4.1), of phrase rows (3.1.1) and of answer rows (A.3.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from vlp.errors import InputError
from vlp.methods.mvptr.model import Mvptr
from vlp.models.bert import LAYER_KEYS, WORDS, read_bert


def copy_bert(model: Mvptr, folder: Path) -> list[str]:
    """Text and visual encoder from the first layers, multimodal from the last ones; embeddings (paper 4.1).

    Args:
        folder: a BERT directory whose word rows are those of the model's word pieces (`vlp.models.bert.check_words`).

    Returns:
        The names of the tensors that were set. Rows beyond the model's are cut, missing positions left as drawn.

    Raises:
        InputError: as `read_bert`; the directory's sizes are not the model's, or it has too few layers or word rows.
    """
    config, bert = read_bert(folder)
    a, depth = model.architecture, config["num_hidden_layers"]
    for ours, theirs in ((a.hidden_size, "hidden_size"), (a.intermediate_size, "intermediate_size")):
        if ours != config[theirs]:
            raise InputError(folder, f"{theirs} is {config[theirs]}, the model's is {ours}.", "Set model.* to fit it.")
    if max(a.text_layers, a.visual_layers) > depth or a.multimodal_layers > depth:
        raise InputError(folder, f"has {depth} layers.", "Use fewer layers in each encoder.")
    if len(bert[WORDS]) < a.word_rows:
        problem = f"has {len(bert[WORDS])} word rows, the tokenizer {a.word_rows} word pieces."
        raise InputError(folder, problem, "Set vocabulary.tokenizer to this directory's.")
    own, done = model.state_dict(), []

    def put(key: str, name: str, rows: int | None = None) -> None:
        """All of a tensor, or its first rows."""
        value, into = bert[name][:rows], own[key][:rows]
        # Compared, for copy_ would spread one number over all.
        if value.shape != into.shape:
            problem = f"{name} has shape {tuple(bert[name].shape)}, wanted {tuple(into.shape)}."
            raise InputError(folder, problem, "Set model.* to fit it, or name another BERT.")
        into.copy_(value)
        done.append(key)

    with torch.no_grad():
        put("embeddings.weight", WORDS, a.word_rows)
        positions = "embeddings.position_embeddings.weight"
        put("positions.weight", positions, min(a.max_positions, len(bert[positions])))
        put("types.weight", "embeddings.token_type_embeddings.weight")
        for part in ("weight", "bias"):
            put(f"embedding_norm.{part}", f"embeddings.LayerNorm.{part}")
            if f"pooler.dense.{part}" in bert:
                put(f"pooler.{part}", f"pooler.dense.{part}")
        firsts = (("text_encoder", a.text_layers, 0), ("visual_encoder", a.visual_layers, 0))
        for name, layers, start in (*firsts, ("multimodal_encoder", a.multimodal_layers, depth - a.multimodal_layers)):
            for i in range(layers):
                for theirs, ours in LAYER_KEYS.items():
                    for part in ("weight", "bias"):
                        put(f"{name}.layers.{i}.{ours}.{part}", f"encoder.layer.{start + i}.{theirs}.{part}")
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
