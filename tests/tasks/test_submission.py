"""Questions whose answers only an evaluation server has: published files -> tables -> predictions -> submission."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.tasks import lab as making
from vlp.batching.inputs import Paths
from vlp.config import Experiment, build
from vlp.config.launch import Resources
from vlp.data.readers import read_experiment
from vlp.data.tables import read_table
from vlp.errors import InputError
from vlp.launch import run
from vlp.metrics.evaluation import evaluate
from vlp.models.directory import digest
from vlp.phrases import corpus, tokenizer
from vlp.phrases.vocabulary import PhraseVocabulary
from vlp.regions.store import RegionStore, RegionWriter
from vlp.report import server
from vlp.runs.finetune import finetune
from vlp.runs.predict import predict

QUESTIONS = [{"question_id": n, "image_id": n // 100, "question": "What is red?"} for n in (901, 700, 702)]


def published(root: Path, unknown: bool = False) -> None:
    """A captioned train image, and two images of test2015 with three questions, in the form of the published files."""
    for folder, name in (("here", 1), ("server", 7), ("server", 9)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64)).save(root / folder / f"COCO_test2015_{name:012}.jpg")
    here = {"images": [{"id": 1, "file_name": f"COCO_test2015_{1:012}.jpg"}]}
    here["annotations"] = [{"id": 3, "image_id": 1, "caption": "a red star"}]
    (root / "captions_train.json").write_text(json.dumps(here))
    images = [{"id": n, "file_name": f"COCO_test2015_{n:012}.jpg", "width": 64, "height": 64} for n in (9, 7)]
    (root / "image_info_test2015.json").write_text(json.dumps({"info": {}, "images": images, "licenses": []}))
    asked = [*QUESTIONS, *([{"question_id": 5, "image_id": 5, "question": "Why?"}] if unknown else [])]
    file = {"info": {}, "data_subtype": "test2015", "questions": asked}
    (root / "v2_OpenEnded_mscoco_test2015_questions.json").write_text(json.dumps(file))


def experiment(root: Path, split: str = "test") -> Experiment:
    captions: dict[str, Any] = {"format": "coco_captions", "files": {"captions": "captions_{split}.json"}}
    info = {"format": "coco_captions", "files": {"captions": "image_info_{split}.json"}}
    questions = {"format": "vqa_v2_questions", "files": {"questions": "v2_OpenEnded_mscoco_{split}_questions.json"}}
    sets = {
        "t": {"root": ".", "images": ["here"], "split": {"rename": {"train": "train"}}, "captions": captions},
        "server": {"root": ".", "images": ["server"], "split": {"rename": {"test2015": split}}}
        | {"captions": info, "questions": questions},
    }
    base = making.experiment(vqa={"dataset": None}).model_dump(mode="json", exclude={"sources"})
    base["data"] = {"name": "t", "root": str(root), "sets": sets, "max_lost": 0.25}
    base["tasks"]["vqa"]["dataset"] = "server"
    return build(base, "server")


@pytest.mark.slow
def test_from_published_questions_to_the_submission(lab: Paths, start: Path, tmp_path: Path) -> None:
    published(tmp_path / "raw", unknown=True)
    questions = tmp_path / "raw" / "v2_OpenEnded_mscoco_test2015_questions.json"
    e, tables = experiment(tmp_path / "raw"), tmp_path / "tables"
    summary = read_experiment(e, tables)
    assert summary["counts"]["questions"] == {"train": 0, "val": 0, "test": 3}
    assert [s["reason"] for s in summary["skipped_counts"]] == ["unknown image"]
    assert any("image_info_test2015.json lists images without captions" in note for note in summary["notes"])
    asked = read_table(tables, "questions").to_pylist()
    assert [r["question_id"] for r in asked] == ["server/700", "server/702", "server/901"]
    assert all(r["answers"] == [] and r["answer"] is r["answer_type"] is None for r in asked)

    with RegionWriter(tmp_path / "regions.h5", 8, making.SHAPES, {"detector": "none"}) as writer:
        for image in read_table(tables, "images")["image_id"].to_pylist():
            writer.add(image, (64, 64), np.ones((3, 8)), making.BOXES, np.array([0, 1, -1]), [0.9, 0.8, 0.7])
    store = RegionStore(tmp_path / "regions.h5")
    words, known = tokenizer.load(lab.vocabulary / "tokenizer"), PhraseVocabulary.load(lab.vocabulary / "phrases.json")
    phrases = {text: [] for text in ("a red star", "What is red?")}
    corpus.write(tmp_path / "corpus.h5", tables, phrases, known, words, store)
    trained = making.experiment(vqa={"min_answer_count": 3})
    arguments = {"experiment": trained, "task": "vqa", "variant": "full", "paths": lab, "init": start}
    alone, folder = Resources(executor="inline", threads=1), tmp_path / "run"
    run(finetune, {**arguments, "out": tmp_path / "model", "run_dir": folder}, alone, folder, "vqa")

    there = replace(lab, tables=tables, corpus=tmp_path / "corpus.h5", regions=tmp_path / "regions.h5")
    path = tmp_path / "vqa.full.test.parquet"
    predict(e, "vqa", "full", "test", there, tmp_path / "model", path)
    with pytest.raises(InputError, match=r"answers 3 of the 4 questions of .*; it lacks 5"):  # of an unknown image
        server.submission(path, questions)
    published(tmp_path / "raw")
    sent = json.loads(server.submission(path, questions))
    assert [r["question_id"] for r in sent] == [700, 702, 901]
    table = pq.read_table(path)
    answers = dict(zip(table["question_id"].to_pylist(), table["answer"].to_pylist(), strict=True))
    assert all(answers[f"server/{r['question_id']}"] == r["answer"] for r in sent)
    assert set(answers.values()) <= {"yes", "no"}  # the model's list: this experiment has no train question
    assert table.schema.metadata[b"checkpoint_sha256"].decode() == digest(tmp_path / "model")
    with pytest.raises(InputError, match="no question has an answer here"):
        evaluate("vqa", path, tables)


def test_questions_without_answers_are_of_no_use_elsewhere(tmp_path: Path) -> None:
    published(tmp_path)
    summary = read_experiment(experiment(tmp_path, split="val"), tmp_path / "tables")
    assert summary["counts"]["questions"] == {"train": 0, "val": 0, "test": 0}
    assert {(s["reason"], s["count"]) for s in summary["skipped_counts"]} >= {
        ("question without answers outside test", 3)
    }


def test_only_what_the_server_asked_is_sent_and_only_the_rest_is_scored(tmp_path: Path) -> None:
    rows = [
        {"question_id": f"t/{n}", "image_id": "t/1", "answer_type": kind, "answer": "yes", "answers": answers}
        for n, kind, answers in ((3, "yes/no", ["yes"] * 10), (2, None, []), (1, "yes/no", ["no"] * 10))
    ]
    path = tmp_path / "p.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    assert json.loads(server.submission(path)) == [{"question_id": 2, "answer": "yes"}]
    truth = [{k: v for k, v in row.items() if k != "answer"} | {"split": "test"} for row in rows]
    making.write_table(tmp_path, "questions", truth)
    found = {m.metric: (m.value, m.n) for m in evaluate("vqa", path, tmp_path)}
    assert found == {"accuracy": (50.0, 2), "accuracy (yes/no)": (50.0, 2), "questions without answers": (1.0, 3)}
