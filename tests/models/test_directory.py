"""Model directories: weights that are not finite go neither in nor out; rows fit word pieces and phrases."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from vlp.errors import InputError
from vlp.models import directory
from vlp.phrases import tokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "dog"]


class Table(nn.Module):
    """As small as a method's model can be: a row for each word and phrase."""

    def __init__(self, words: int = 7, phrases: int = 2) -> None:
        super().__init__()
        self.word_rows, self.phrase_rows = words, phrases
        self.rows = nn.Embedding(words + phrases, 3)


def vocabulary(folder: Path, words: list[str], rows: int | None = 9, ids: tuple[int, ...] = (7, 8)) -> Path:
    tokenizer.save(words, folder / "tokenizer")
    if rows is not None:
        records = [{"id": i, "parts": ["cat", f"a{i}"], "kind": "attribute", "count": 1} for i in ids]
        (folder / "phrases.json").write_text(json.dumps({"rows": rows, "records": records}))
    return folder


def saved(folder: Path, model: Table | None = None) -> Path:
    own = vocabulary(folder / "vocabulary", WORDS)
    directory.save(model or Table(), folder / "model", {"method": "any"}, own, {}, {}, "Any")
    return folder / "model"


def load(folder: Path, model: Table | None = None) -> None:
    directory.load_strictly(model or Table(), directory.read_tensors(folder), folder / directory.WEIGHTS)


def spoilt(folder: Path, value: float) -> Path:
    tensors = load_file(folder / directory.WEIGHTS)
    tensors["rows.weight"][4, 1] = value
    save_file(tensors, folder / directory.WEIGHTS)
    return folder


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_not_finite_is_refused_at_every_door(tmp_path: Path, value: float) -> None:
    load(folder := saved(tmp_path))
    told = r"model\.safetensors: has weights that are not finite: rows\.weight \(1 of 27 numbers is NaN or infinite\)"
    spoilt(folder, value)
    with pytest.raises(InputError, match=told + r"\. Make the model again\."):
        load(folder)
    with pytest.raises(InputError, match=told):
        directory.publish(folder, tmp_path / "published")
    assert not (tmp_path / "published").exists()
    model = Table()
    with torch.no_grad():
        model.rows.weight[2, 0] = value
    with pytest.raises(InputError, match=told):
        saved(tmp_path / "again", model)
    assert not (tmp_path / "again" / "model").exists()


def test_numbers_that_are_no_floats_and_large_ones_pass(tmp_path: Path) -> None:
    model = Table()
    model.register_buffer("ids", torch.arange(3))
    with torch.no_grad():
        model.rows.weight.fill_(torch.finfo(torch.float32).max)  # its sum is infinite, the numbers are not
    saved(tmp_path, model)


OTHERS: list[tuple[dict[str, Any], str]] = [
    ({"words": [*WORDS, "sun", "sea"]}, r"has 9 word pieces, the model 7 rows for them: the last 2 would be read as p"),
    ({"words": WORDS[:-1]}, r"has 6 word pieces, the model 7 rows for them: the last 1 would be no word's"),
    ({"words": WORDS, "rows": 12}, r"phrases\.json: is of a table of 12 rows, the model has 9: 7 for words"),
    ({"words": WORDS, "ids": (6, 7)}, r"phrases\.json: the id 6 is no phrase's row: those of the model are 7 to 8"),
]


@pytest.mark.parametrize(("made", "told"), OTHERS)
def test_words_and_phrases_of_another_model_are_refused(tmp_path: Path, made: dict[str, Any], told: str) -> None:
    folder = saved(tmp_path)
    other = vocabulary(tmp_path / "other", **made)
    with pytest.raises(InputError, match=told):
        directory.save(Table(), tmp_path / "new", {}, other, {}, {}, "Any")
    assert not (tmp_path / "new").exists()
    shutil.rmtree(folder / "tokenizer")
    shutil.copytree(other, folder, dirs_exist_ok=True)
    with pytest.raises(InputError, match=told):
        load(folder)


def test_a_model_without_phrases(tmp_path: Path) -> None:
    model = Table(phrases=0)
    own = vocabulary(tmp_path / "v", WORDS, rows=None)
    directory.save(model, tmp_path / "m", {}, own, {}, {}, "Any")
    load(tmp_path / "m", Table(phrases=0))
    with pytest.raises(InputError, match="7 rows for them: the last 2 would be read as rows beyond"):
        directory.save(model, tmp_path / "n", {}, vocabulary(tmp_path / "w", [*WORDS, "x", "y"], None), {}, {}, "Any")


def test_a_pointer_of_lfs_is_named(tmp_path: Path) -> None:
    (tmp_path / directory.WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InputError, match="pointer of Git LFS"):
        directory.read_tensors(tmp_path)


@pytest.mark.parametrize("umask", [0o022, 0o027])
def test_others_may_read_a_model_as_far_as_the_umask_lets_them(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        made = saved(tmp_path)
        (made / directory.WEIGHTS).chmod(0o600)  # as earlier versions left it
        directory.publish(made, tmp_path / "published")
    finally:
        os.umask(before)
    for file in (p for place in (made, tmp_path / "published") for p in place.rglob("*") if p.is_file()):
        assert file.stat().st_mode & 0o777 == 0o666 & ~umask, file
