"""`vlp evaluate` and `vlp task` as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tests.tasks import lab as making
from vlp.batching.inputs import Inputs, Paths
from vlp.cli import task as tasks
from vlp.cli.evaluate import app
from vlp.config.tasks import known
from vlp.errors import InputError
from vlp.files import read_json
from vlp.methods.mvptr import directory
from vlp.metrics.evaluation import evaluate
from vlp.models.directory import digest
from vlp.regions.store import RegionStore
from vlp.tasks import make
from vlp.tracking import journal as journals


@pytest.mark.parametrize("task", [n for n in known() if n not in ("vqa", "entailment")])
def test_the_numbers_are_those_of_the_results(task: str, lab: Paths, start: Path, tmp_path: Path) -> None:
    job = make(task, Inputs(making.experiment(**{task: {}}), lab), "full")
    file = tmp_path / "p.parquet"
    pq.write_table(job.predict(directory.load(start).eval(), "test"), file)
    arguments = ["--predictions", file, "--tables", lab.tables, "--regions", lab.regions, "--json", tmp_path / "x.json"]
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    found, wanted = (
        read_json(tmp_path / "x.json"),
        evaluate(task, file, lab.tables, RegionStore(lab.store)),
    )
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


@pytest.mark.slow
def test_each_seed_is_a_fine_tuning_of_its_own(lab: Paths, start: Path, tmp_path: Path) -> None:
    value = making.experiment(vqa={"min_answer_count": 3, "seeds": 2}).model_dump(mode="json") | {"seed": 4}
    value |= {"name": "x", "results": str(tmp_path), "launch": {"finetuning": {"executor": "inline", "threads": 1}}}
    value["tracking"] = {"enabled": False}
    config, here = tmp_path / "x.json", tmp_path / "x"
    config.write_text(json.dumps(value))  # JSON is YAML
    inputs = ("--tables", lab.tables, "--corpus", lab.corpus, "--regions", lab.regions, "--vocabulary", lab.vocabulary)

    def call(command: str, *arguments: Any) -> None:
        common = (command, "--config", config, "--task", "vqa", "--variant", "blind", *inputs)
        done = CliRunner().invoke(tasks.app, [str(a) for a in (*common, *arguments)])
        assert done.exit_code == 0, (done.output, done.exception)

    weights, exchanged = {}, {}
    for seed, name, option in ((4, "vqa.blind", ()), (5, "vqa.blind-5", ("--seed", 5))):
        model, run = here / "models" / name, here / "runs" / name
        call("finetune", "--init", start, "--out", model, "--run-dir", run, *option)
        predictions = here / "predictions" / f"{name}.test.parquet"
        call("predict", "--split", "test", "--model", model, "--out", predictions, *option)
        assert pq.read_schema(predictions).metadata[b"seed"] == str(seed).encode()
        weights[seed] = digest(model)
        for rule in (f"finetune-{name}", f"predict-{name}.test"):
            start_of = journals.read(here / "journals" / f"{rule}.jsonl")[0]
            assert (start_of["rule"], start_of["tags"]["seed"]) == (rule, str(seed))
        e = making.experiment(vqa={"min_answer_count": 3}).model_copy(update={"seed": seed})
        job = make("vqa", Inputs(e, lab), "blind")
        exchanged[seed] = job.image_ids(job.rows("train"))
    assert weights[4] != weights[5] and exchanged[4] != exchanged[5]
