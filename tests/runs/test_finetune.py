"""Fine-tuning of every task from end to end: what selection may read, and what it may start from."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.tasks import lab as making
from vlp.batching.inputs import Inputs, Paths
from vlp.config.launch import Resources
from vlp.config.tasks import known
from vlp.data.leaks import seen
from vlp.data.leaks.identity import FILE, IDENTITY, read
from vlp.errors import InputError
from vlp.files import read_json, write_json
from vlp.launch import run
from vlp.methods.mvptr import directory
from vlp.metrics.evaluation import COLUMNS
from vlp.models.directory import digest
from vlp.runs.finetune import finetune
from vlp.runs.predict import predict
from vlp.runs.pretrain import pretrain
from vlp.tasks import make
from vlp.tasks.base import OTHER, Task, check_unseen

INLINE = Resources(executor="inline", threads=1)
SETTINGS = {"vqa": {"min_answer_count": 3}, "grounding": {"layer": 1}}


@pytest.mark.slow
@pytest.mark.parametrize("task", known())
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
    assert table.schema.metadata[b"checkpoint_sha256"].decode() == digest(out)


@pytest.mark.parametrize("what", ["features", "phrases", "word pieces"])
def test_a_model_of_other_inputs_is_refused(what: str, lab: Paths, start: Path, tmp_path: Path) -> None:
    model, paths = tmp_path / "model", lab
    shutil.copytree(start, model)
    if what == "features":
        config = read_json(model / "config.json")
        shutil.copytree(start, tmp_path / "other")
        write_json(model / "config.json", config | {"region_size": config["region_size"] + 2})
        wider = directory.load(start)
        from vlp.models.products import Linear

        wider.region_projection = Linear(wider.architecture.region_size + 2, 16)
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


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["full", "blind", "scratch"])
def test_a_model_that_has_seen_test_images_is_refused_unless_told(
    variant: str, lab: Paths, start: Path, tmp_path: Path
) -> None:
    paths, model = replace(lab, leaks=tmp_path), tmp_path / "start"
    splits = dict(zip([f"t/{i:02}" for i in range(12)], making.SPLITS, strict=True))
    images = [{"image_id": i, "split": s, "coco_id": i[2:]} for i, s in splits.items()]
    pq.write_table(pa.Table.from_pylist(images, schema=IDENTITY), tmp_path / FILE)
    shutil.copytree(start, model)
    # Under other names two of the photographs: one of train, one of test.
    used = [{"image_id": f"vg/{n}", "split": "train", "coco_id": f"{n:02}"} for n in (2, 10)]
    said = seen.record(model, seen.PRETRAINING, pa.Table.from_pylist(used, schema=IDENTITY), None)
    write_json(model / "inputs.json", read_json(model / "inputs.json") | {"seen": said})

    def finetuned(choice: str) -> None:
        e = making.experiment(entailment={"seen_test_images": choice})
        out = tmp_path / choice
        arguments = {"experiment": e, "task": "entailment", "variant": variant, "paths": paths, "init": model}
        run(finetune, {**arguments, "out": out, "run_dir": out / "run"}, INLINE, out / "run", choice)

    if variant == "scratch":  # it does not start from that model
        finetuned("refuse")
        return
    with pytest.raises(InputError, match=r"seen 1 of the 3 test images of entailment in pre-training, such as t/10"):
        finetuned("refuse")
    finetuned("mark")
    assert {m.evaluated for m in seen.seen(tmp_path / "mark", read(tmp_path / FILE)) or []} >= {"t/10"}
    e = making.experiment(entailment={}), "entailment", variant
    with pytest.raises(InputError, match="seen 1 of the 3 test images"):
        predict(*e, "test", paths, tmp_path / "mark", tmp_path / "p.parquet")
    predict(*e, "val", paths, tmp_path / "mark", tmp_path / "p.parquet")


def test_test_images_of_another_data_set_are_of_no_concern(lab: Paths, start: Path, tmp_path: Path) -> None:
    paths, model = replace(lab, leaks=tmp_path), tmp_path / "start"
    images = [{"image_id": f"t/{i:02}", "split": s, "coco_id": f"{i:02}"} for i, s in enumerate(making.SPLITS)]
    pq.write_table(pa.Table.from_pylist(images, schema=IDENTITY), tmp_path / FILE)
    shutil.copytree(start, model)
    used = pa.Table.from_pylist([images[10] | {"split": "train"}], schema=IDENTITY)
    write_json(
        model / "inputs.json",
        read_json(model / "inputs.json") | {"seen": seen.record(model, seen.PRETRAINING, used, None)},
    )
    task = make("entailment", Inputs(making.experiment(entailment={}), paths), "full")
    with pytest.raises(InputError, match="seen 1 of the 3 test images"):
        check_unseen(task, model)
    task.splits = np.where(np.asarray(task.side.reader.texts.image_ids) == "t/10", OTHER, task.splits)
    check_unseen(task, model)


def test_asking_for_other_results_does_not_train_again() -> None:
    def training(**own: object) -> dict[str, object]:
        tasks = making.experiment(retrieval=own).tasks
        assert tasks.retrieval is not None
        return tasks.retrieval.of_training

    plain = training()
    assert training(folds=5, exhaustive=True, splits=["val", "test"], variants=["scratch"]) == plain
    assert training(captions_reranked=3) != plain  # selection ranks no deeper


@pytest.mark.parametrize("task", known())
def test_a_batch_larger_than_the_data_set_is_refused_before_a_model_is_read(
    task: str, lab: Paths, tmp_path: Path
) -> None:
    """Some sample would stand in it twice, and be its own negative."""
    e = making.experiment(
        **{task: {**SETTINGS.get(task, {}), "optimisation": {**making.OPTIMISATION, "batch_size": 64}}}
    )
    told = rf"tasks\.{task}\.optimisation: batch_size is 64, and there are (6|12) samples to train on\. Lower it to"
    with pytest.raises(InputError, match=told):
        finetune(e, task, "full", lab, tmp_path / "no model", tmp_path / "out", tmp_path / "run")


def test_a_batch_larger_than_the_captions_is_refused_too(tiny_inputs: Path, tmp_path: Path) -> None:
    from tests.training.tiny_run import experiment, paths

    e = experiment(batch_size=41)
    told = r"pretraining\.stage1: batch_size is 41, and there are (\d+) samples to train on\. Lower it to \1 or less"
    with pytest.raises(InputError, match=told):
        pretrain(e, "stage1", paths(tiny_inputs), tmp_path / "no model", tmp_path / "out", tmp_path / "run")
