"""A submission file, and the server's answer tied to what was sent."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tests.tasks import lab as making
from vlp.cli.results import app
from vlp.config.load import build
from vlp.errors import InputError
from vlp.files import sha256
from vlp.metrics.items import Items, digest
from vlp.report.collect import _server_rows


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    rows = [{"question_id": f"coco/{n}", "image_id": "coco/1", "answer": a} for n, a in ((20, "no"), (3, "2 dogs"))]
    table = pa.Table.from_pylist([{**r, "answer_type": "other", "answers": []} for r in rows])
    path = tmp_path / "vqa.full.test.parquet"
    pq.write_table(table.replace_schema_metadata({"checkpoint_sha256": "c" * 64}), path)
    return path


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    return asked(tmp_path / "v2_OpenEnded_mscoco_test2015_questions.json", 3, 20)


def asked(path: Path, *numbers: Any) -> Path:
    path.write_text(json.dumps({"questions": [{"question_id": n, "image_id": 1, "question": "?"} for n in numbers]}))
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    value: dict[str, Any] = making.experiment(vqa={}).model_dump(mode="json") | {"results": str(tmp_path), "name": "x"}
    value["data"]["name"] = "coco"
    (tmp_path / "x.json").write_text(json.dumps(value))  # JSON is YAML
    return tmp_path / "x.json"


def call(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def send(predictions: Path, questions: Path, out: Path) -> Any:
    return call("submission", "--predictions", predictions, "--questions", questions, "--out", out)


def test_the_submission_is_the_servers_form(predictions: Path, questions: Path, tmp_path: Path) -> None:
    done = send(predictions, questions, tmp_path / "s.json")
    assert done.exit_code == 0 and sha256(tmp_path / "s.json") in done.output.replace("\n", "")
    wanted = [{"question_id": 3, "answer": "2 dogs"}, {"question_id": 20, "answer": "no"}]
    assert json.loads((tmp_path / "s.json").read_text()) == wanted


@pytest.mark.parametrize(
    ("numbers", "problem"),
    [
        ((3, 20, 21), r"answers 2 of the 3 questions of \S+questions.json; it lacks 21\."),
        ((3,), r"answers questions that are not in \S+questions.json: 20\."),
        ((3, 20, 3), r"questions.json: holds ids more than once: 3\."),
        ((3, "20"), "row 2: question_id is '20', no whole number"),
        ((), "holds no list `questions`"),
    ],
)
def test_a_submission_answers_each_question_of_the_file_once(
    predictions: Path, tmp_path: Path, numbers: Any, problem: str
) -> None:
    done = send(predictions, asked(tmp_path / "questions.json", *numbers), tmp_path / "s.json")
    assert isinstance(done.exception, InputError) and re.search(problem, str(done.exception))
    assert not (tmp_path / "s.json").exists()


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([("coco/3", None), ("coco/20", "no")], "answer is null for coco/3"),
        ([("coco/3", "no"), ("coco/20", "no"), ("coco/3", "yes")], "holds ids more than once: coco/3"),
        (
            [("coco/3", "no"), ("coco/20", "no"), ("coco/0020", "yes")],
            "coco/0020: another question has the same number",
        ),
        ([("coco/3", 1), ("coco/20", 2)], "answer holds int64, not texts"),
        ([(None, "no"), ("coco/20", "no")], "question_id is null for row 1"),
        ([(3, "no"), (20, "no")], "question_id holds int64, not texts"),
    ],
)
def test_answers_that_are_missing_or_doubled_are_not_sent(
    questions: Path, tmp_path: Path, rows: list[Any], problem: str
) -> None:
    records = [{"question_id": i, "image_id": "coco/1", "answer": a} for i, a in rows]
    table = pa.Table.from_pylist([{**r, "answer_type": None, "answers": []} for r in records])
    pq.write_table(table, tmp_path / "p.parquet")
    done = send(tmp_path / "p.parquet", questions, tmp_path / "s.json")
    assert isinstance(done.exception, InputError) and problem in str(done.exception)
    assert not (tmp_path / "s.json").exists()


def test_a_file_that_is_not_whole_is_not_sent(predictions: Path, tmp_path: Path) -> None:
    """Also where the questions are those that are left."""
    table, ids = pq.read_table(predictions), ["coco/20", "coco/3"]
    told = Items("coco", "test", 2, digest(ids), 2, digest(ids), 2).metadata()
    pq.write_table(table.replace_schema_metadata(told).slice(0, 1), predictions)
    done = send(predictions, asked(tmp_path / "questions.json", 20), tmp_path / "s.json")
    assert isinstance(done.exception, InputError) and "has 1 items and says that it has 2" in str(done.exception)


def test_an_answer_becomes_rows_that_name_what_was_sent(
    predictions: Path, questions: Path, config: Path, tmp_path: Path
) -> None:
    send(predictions, questions, tmp_path / "s.json")
    common = ("record", "--config", config, "--predictions", predictions, "--sent", tmp_path / "s.json")
    assert call(*common, "--split", "test-std", "--accuracy", 70, "--number", 50.5).exit_code == 0
    assert call(*common, "--split", "test-std", "--accuracy", 71.5, "--number", 50.5).exit_code == 0  # corrected
    rows = {(r.split, r.metric): r for r in _server_rows(build(json.loads(config.read_text()), "x"))}
    assert {key: r.value for key, r in rows.items()} == {
        ("test-std", "accuracy"): 71.5, ("test-std", "accuracy (number)"): 50.5,
    }  # fmt: skip
    row = rows["test-std", "accuracy"]
    assert (row.data_sha256, row.checkpoint_sha256, row.n) == (sha256(predictions), "c" * 64, 2)
    assert row.published == 76.36 and rows["test-std", "accuracy (number)"].published == 58.45


def test_what_was_not_sent_is_refused(predictions: Path, config: Path, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text("[]")
    common = ("record", "--config", config, "--predictions", predictions, "--split", "test-dev")
    done = call(*common, "--accuracy", 70, "--sent", tmp_path / "s.json")
    assert isinstance(done.exception, InputError) and "was not made of" in str(done.exception)
    done = call(*common, "--accuracy", 700)
    assert isinstance(done.exception, InputError) and "is no percentage" in str(done.exception)
    assert not (tmp_path / "x" / "server.json").exists()
