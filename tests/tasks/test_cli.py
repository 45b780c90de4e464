"""`vlp evaluate` as a user calls it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tests.tasks import lab as making
from vlp.cli.evaluate import app
from vlp.errors import InputError
from vlp.files import read_json
from vlp.models import directory
from vlp.regions.store import RegionStore
from vlp.tasks import NAMES, make
from vlp.tasks.evaluation import evaluate
from vlp.training.inputs import Inputs, Paths


@pytest.mark.parametrize("task", [n for n in NAMES if n not in ("vqa", "entailment")])
def test_the_numbers_are_those_of_the_results(task: str, lab: Paths, start: Path, tmp_path: Path) -> None:
    job = make(task, Inputs(making.experiment(**{task: {}}), lab), "full")
    file = tmp_path / "p.parquet"
    pq.write_table(job.predict(directory.load(start).eval(), "test"), file)
    arguments = ["--predictions", file, "--tables", lab.tables, "--regions", lab.regions, "--json", tmp_path / "x.json"]
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    found, wanted = read_json(tmp_path / "x.json"), evaluate(task, file, lab.tables, RegionStore(lab.regions))
    assert found["task"] == task and len(wanted) > 1
    assert [(m["protocol"], m["metric"], m["value"]) for m in found["measures"]] == [
        (m.protocol, m.metric, m.value) for m in wanted
    ]
    for m in wanted:
        assert any(m.metric in line and f"{m.value:.2f}" in line for line in done.output.splitlines()), m


def test_damaged_and_foreign_files_are_named(tmp_path: Path) -> None:
    file = tmp_path / "p.parquet"
    pq.write_table(pa.table({"a": [1] * 1000}), file)

    def error() -> str:
        done = CliRunner().invoke(app, ["--predictions", str(file), "--tables", str(tmp_path)])
        assert isinstance(done.exception, InputError)
        return str(done.exception)

    assert "has the columns of no task (a)" in error()
    file.write_bytes(file.read_bytes()[:-20])
    assert "not a whole Parquet file" in error()
    file.unlink()
    assert "the predictions are missing" in error()
