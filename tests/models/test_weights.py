"""Weights as others publish them: prefixes, shards, pointers, cut files, numbers that are not finite."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from vlp.errors import InputError
from vlp.models import weights
from vlp.models.bert import WORDS, check_words, read_bert

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 440473133\n"
CONFIG = {"model_type": "bert", "num_hidden_layers": 1, "hidden_size": 4, "intermediate_size": 8}


def tensors() -> dict[str, Tensor]:
    return {WORDS: torch.arange(24.0).reshape(6, 4), "encoder.layer.0.output.LayerNorm.gamma": torch.ones(4)}


def bert(folder: Path, prefix: str = "", config: Any = None, **more: Tensor) -> Path:
    folder.mkdir(exist_ok=True)
    save_file({prefix + k: v for k, v in tensors().items()} | more, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG if config is None else config))
    return folder


def shards(folder: Path, kind: str = "model.safetensors") -> Path:
    folder.mkdir(exist_ok=True)
    stem, _, ending = kind.rpartition(".")
    found = {}
    for n, (name, value) in enumerate(tensors().items(), start=1):
        file = f"{stem}-{n:05}-of-00002.{ending}"
        save_file({name: value}, folder / file) if ending == "safetensors" else torch.save({name: value}, folder / file)
        found[name] = file
    (folder / f"{kind}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": found}))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


@pytest.mark.parametrize("prefix", ["", "bert.", "module.bert.", "model.text_model.bert."])
def test_whatever_stands_before_bert_s_names_is_left_out(tmp_path: Path, prefix: str) -> None:
    _, found = read_bert(bert(tmp_path, prefix, **{"cls.predictions.bias": torch.zeros(6)}))
    assert torch.equal(found[WORDS], tensors()[WORDS])
    assert torch.equal(found["encoder.layer.0.output.LayerNorm.weight"], torch.ones(4))  # gamma, by its name of today


@pytest.mark.parametrize("kind", weights.NAMES)
def test_shards_are_one_model(tmp_path: Path, kind: str) -> None:
    _, found = read_bert(shards(tmp_path, kind))
    assert torch.equal(found[WORDS], tensors()[WORDS]) and len(found) == 2


def test_torch_s_files_may_hold_the_weights_beside_other_things(tmp_path: Path) -> None:
    torch.save({"state_dict": tensors(), "step": 3}, tmp_path / "pytorch_model.bin")
    assert weights.read_folder(tmp_path).keys() == tensors().keys()


def pointer(folder: Path) -> None:
    (bert(folder) / "model.safetensors").write_text(POINTER)


def pointed_config(folder: Path) -> None:
    (bert(folder) / "config.json").write_text(POINTER)


def page(folder: Path) -> None:
    (bert(folder) / "model.safetensors").write_text("<!DOCTYPE html><html>Sign in</html>")


def cut(folder: Path) -> None:
    file = bert(folder) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-5])


def empty(folder: Path) -> None:
    (bert(folder) / "model.safetensors").write_bytes(b"")


def none(folder: Path) -> None:
    (bert(folder) / "model.safetensors").unlink()


def a_list(folder: Path) -> None:
    none(folder)
    torch.save([torch.ones(2)], folder / "pytorch_model.bin")


def whole_model(folder: Path) -> None:
    none(folder)
    torch.save({"epoch": 3, "best": 0.5}, folder / "pytorch_model.bin")


def lost_shard(folder: Path) -> None:
    (shards(folder) / "model-00002-of-00002.safetensors").unlink()


def promised(folder: Path) -> None:
    index = shards(folder) / "model.safetensors.index.json"
    value = json.loads(index.read_text())
    value["weight_map"]["pooler.dense.weight"] = "model-00001-of-00002.safetensors"
    index.write_text(json.dumps(value))


def outside(folder: Path) -> None:
    (shards(folder) / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../x.safetensors"}}')


def twice(folder: Path) -> None:
    save_file(tensors(), shards(folder) / "model-00002-of-00002.safetensors")


def no_map(folder: Path) -> None:
    (shards(folder) / "model.safetensors.index.json").write_text("[]")


def nan(folder: Path) -> None:
    value = tensors()
    value[WORDS][2, 1], value[WORDS][3] = torch.nan, torch.inf
    save_file(value, bert(folder) / "model.safetensors")


def two(folder: Path) -> None:
    bert(folder, "query.", **{"passage." + WORDS: torch.ones(6, 4)})


def other_words(folder: Path) -> None:
    save_file({"transformer.wte.weight": torch.ones(2)}, bert(folder) / "model.safetensors")


def other_kind(folder: Path) -> None:
    bert(folder, config=CONFIG | {"model_type": "roberta"})


def no_size(folder: Path) -> None:
    bert(folder, config={k: v for k, v in CONFIG.items() if k != "hidden_size"})


def no_mapping(folder: Path) -> None:
    bert(folder, config=[1])


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (pointer, r"model\.safetensors: is a pointer of Git LFS, not the file itself\. .*git lfs pull"),
        (pointed_config, r"config\.json: is a pointer of Git LFS"),
        (page, r"model\.safetensors: is a web page"),
        (cut, r"model\.safetensors: cannot be read \(.+\)\. Fetch it again\."),
        (empty, r"model\.safetensors: cannot be read"),
        (none, r"no such file as model\.safetensors or pytorch_model\.bin, whole or in shards"),
        (a_list, r"holds no plain state dict but a list"),
        (whole_model, r"holds no plain state dict but a mapping of epoch, best"),
        (lost_shard, r"index\.json: the shard model-00002-of-00002\.safetensors is missing"),
        (promised, r"index\.json: its shards lack pooler\.dense\.weight"),
        (outside, r"the shard \.\./x\.safetensors is not beside it"),
        (twice, rf"{WORDS} is in another shard too"),
        (no_map, r"has no weight_map"),
        (nan, rf"not finite: {WORDS} \(5 of 24 numbers are NaN or infinite\)"),
        (two, r"has several BERTs \(passage\..*, query\."),
        (
            other_words,
            r"no embeddings\.word_\w+\.weight among its 1 tensors \(such as transformer\.wte\.weight\)",
        ),
        (other_kind, r"config\.json: is of a roberta model, not of a BERT"),
        (no_size, r"config\.json: hidden_size is None"),
        (no_mapping, r"config\.json: holds no mapping"),
    ],
)
def test_what_is_no_bert_is_named(tmp_path: Path, spoil: Callable[[Path], None], told: str) -> None:
    spoil(tmp_path / "bert")
    with pytest.raises(InputError, match=told):
        read_bert(tmp_path / "bert")


def test_a_tensor_that_is_asked_for_and_missing_is_named(tmp_path: Path) -> None:
    _, found = read_bert(bert(tmp_path))
    with pytest.raises(InputError, match=r"has no tensor encoder\.layer\.0\.attention"):
        found["encoder.layer.0.attention.self.query.weight"]


def test_a_start_s_word_rows_are_those_of_the_same_pieces(tmp_path: Path) -> None:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat"]
    ours = tmp_path / "tokenizer"
    ours.mkdir()
    (ours / "vocab.txt").write_text("".join(f"{p}\n" for p in pieces))
    theirs = bert(tmp_path / "bert")
    check_words(theirs, ours)  # without a tokenizer there is nothing to compare
    (theirs / "vocab.txt").write_text("".join(f"{p}\n" for p in pieces))
    check_words(theirs, ours)
    (theirs / "vocab.txt").write_text("".join(f"{p}\n" for p in [*pieces[:-1], "dog", "cat"]))
    with pytest.raises(InputError, match=r"the id 5 is 'dog' there, 'cat' in .*tokenizer \(7 and 6 pieces\)"):
        check_words(theirs, ours)
