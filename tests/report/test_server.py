"""A submission file, and the server's answer tied to what was sent."""

from __future__ import annotations

import json
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
from vlp.report.collect import _server_rows


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    rows = [{"question_id": f"coco/{n}", "image_id": "coco/1", "answer": a} for n, a in ((20, "no"), (3, "2 dogs"))]
    table = pa.Table.from_pylist([{**r, "answer_type": "other", "answers": []} for r in rows])
    path = tmp_path / "vqa.full.test.parquet"
    pq.write_table(table.replace_schema_metadata({"checkpoint_sha256": "c" * 64}), path)
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    value: dict[str, Any] = making.experiment(vqa={}).model_dump(mode="json") | {"results": str(tmp_path), "name": "x"}
    value["data"]["name"] = "coco"
    (tmp_path / "x.json").write_text(json.dumps(value))  # JSON is YAML
    return tmp_path / "x.json"


def call(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_the_submission_is_the_servers_form(predictions: Path, tmp_path: Path) -> None:
    done = call("submission", "--predictions", predictions, "--out", tmp_path / "s.json")
    assert done.exit_code == 0 and sha256(tmp_path / "s.json") in done.output.replace("\n", "")
    wanted = [{"question_id": 3, "answer": "2 dogs"}, {"question_id": 20, "answer": "no"}]
    assert json.loads((tmp_path / "s.json").read_text()) == wanted


def test_an_answer_becomes_rows_that_name_what_was_sent(predictions: Path, config: Path, tmp_path: Path) -> None:
    call("submission", "--predictions", predictions, "--out", tmp_path / "s.json")
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
