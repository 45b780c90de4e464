"""Fine-tuning of every task from end to end: what selection may read, and what it may start from."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.tasks import lab as making
from vlp.config.launch import Resources
from vlp.errors import InputError
from vlp.files import read_json, write_json
from vlp.launch import run
from vlp.models import directory
from vlp.tasks import NAMES
from vlp.tasks.base import Task
from vlp.tasks.evaluation import COLUMNS
from vlp.tasks.finetune import finetune
from vlp.tasks.predict import predict
from vlp.training.inputs import Paths

INLINE = Resources(executor="inline", threads=1)
SETTINGS = {"vqa": {"min_answer_count": 3}, "grounding": {"layer": 1}}


@pytest.mark.parametrize("task", NAMES)
def test_selection_never_reads_test(
    task: str, lab: Paths, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole fine-tuning with `Task.rows` watched: train and val alone; then the test split is predicted."""
    asked: list[str] = []
    rows = Task.rows

    def watched(self: Task, split: str) -> np.ndarray:
        asked.append(split)
        return rows(self, split)

    monkeypatch.setattr(Task, "rows", watched)
    e = making.experiment(**{task: SETTINGS.get(task, {})})
    out = tmp_path / "model"
    arguments = {"experiment": e, "task": task, "variant": "full", "paths": lab, "init": start, "out": out}
    run(finetune, {**arguments, "run_dir": tmp_path / "run"}, INLINE, tmp_path / "run", task)
    assert set(asked) == {"train", "val"}
    assert read_json(out / "inputs.json")["objectives"] == [task]
    found = predict(e, task, "full", "test", lab, out, tmp_path / "p.parquet")
    table = pq.read_table(tmp_path / "p.parquet")
    assert table.num_rows == found["rows"] > 0 and set(COLUMNS[task]) <= set(table.column_names)
    assert table.schema.metadata[b"checkpoint_sha256"].decode() == directory.digest(out)


@pytest.mark.parametrize("what", ["features", "phrases", "word pieces"])
def test_a_model_of_other_inputs_is_refused(what: str, lab: Paths, start: Path, tmp_path: Path) -> None:
    model, paths = tmp_path / "model", lab
    shutil.copytree(start, model)
    if what == "features":
        config = read_json(model / "config.json")
        shutil.copytree(start, tmp_path / "other")
        write_json(model / "config.json", config | {"region_size": config["region_size"] + 2})
        wider = directory.load(start)
        import torch

        wider.region_projection = torch.nn.Linear(wider.architecture.region_size + 2, 16)
        wider.architecture = wider.architecture.model_copy(update={"region_size": config["region_size"] + 2})
        directory.save(wider, model, lab.vocabulary, {}, {})
    else:
        changed = tmp_path / "vocabulary"
        shutil.copytree(lab.vocabulary, changed)
        file = changed / ("phrases.json" if what == "phrases" else "tokenizer/tokenizer.json")
        file.write_text(file.read_text() + "\n")
        paths = replace(lab, vocabulary=changed)
    wanted = "a region has 14 numbers" if what == "features" else "phrases or word pieces are not those of"
    with pytest.raises(InputError, match=wanted):
        predict(making.experiment(retrieval={}), "retrieval", "full", "test", paths, model, tmp_path / "p.parquet")
    assert not (tmp_path / "p.parquet").exists()
