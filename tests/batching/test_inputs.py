"""What a training reads belongs together: a corpus of other word pieces or phrases is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import pytest

from tests.tasks import lab as making
from vlp.batching.inputs import Inputs, Paths
from vlp.errors import InputError
from vlp.phrases import pieces, tokenizer
from vlp.phrases.corpus import MEANING


def other_words(vocabulary: Path) -> None:
    """Two pieces change places: the counts are the same."""
    words = pieces.read(vocabulary / "tokenizer")
    words[-1], words[-2] = words[-2], words[-1]
    shutil.rmtree(vocabulary / "tokenizer")
    tokenizer.save(words, vocabulary / "tokenizer")


def more_words(vocabulary: Path) -> None:
    tokenizer.save([*pieces.read(vocabulary / "tokenizer"), "zzz", "zzy"], vocabulary / "tokenizer")


def other_phrases(vocabulary: Path) -> None:
    value: dict[str, Any] = json.loads((vocabulary / "phrases.json").read_text())
    a, b = value["records"][:2]
    a["parts"], b["parts"] = b["parts"], a["parts"]
    (vocabulary / "phrases.json").write_text(json.dumps(value))


@pytest.mark.parametrize("change", [other_words, more_words, other_phrases])
def test_a_corpus_of_another_vocabulary_is_refused(change: Any, lab: Paths, tmp_path: Path) -> None:
    e, vocabulary = making.experiment(retrieval={}), tmp_path / "vocabulary"
    shutil.copytree(lab.vocabulary, vocabulary)
    changed = replace(lab, vocabulary=vocabulary)
    assert len(Inputs(e, changed).corpus.texts("captions"))
    change(vocabulary)
    with pytest.raises(InputError, match=r"corpus\.h5: was built with other word pieces or phrases than"):
        _ = Inputs(e, changed).corpus
    old = tmp_path / "corpus.h5"
    shutil.copyfile(lab.corpus, old)
    with h5py.File(old, "r+") as file:  # of an earlier version
        del file.attrs[MEANING]
    assert len(Inputs(e, replace(changed, corpus=old)).corpus.texts("captions"))


def test_more_words_than_rows_of_the_joint_table(lab: Paths, tmp_path: Path) -> None:
    shutil.copytree(lab.vocabulary, tmp_path / "v")
    rows = json.loads((tmp_path / "v" / "phrases.json").read_text())["rows"]
    words = pieces.read(tmp_path / "v" / "tokenizer")
    tokenizer.save([*words, *(f"zz{i}" for i in range(rows))], tmp_path / "v" / "tokenizer")
    with pytest.raises(InputError, match=rf"phrases\.json: is of a table of {rows} rows, the tokenizer has \d+ word"):
        _ = Inputs(making.experiment(retrieval={}), replace(lab, vocabulary=tmp_path / "v")).vocabulary
