"""Table 4 on a cluster: every row, two seeds, what they share made once."""

from __future__ import annotations

import csv
import html
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from tests.slurm.lab import Cluster
from tests.slurm.test_chain import environment
from tests.slurm.use import on_slurm
from tests.workflow.chain import ROOT, VLP
from vlp.config.sweep import load
from vlp.launch.jobs import jobs
from vlp.sweep import plan as plans

pytestmark = [pytest.mark.slurm, pytest.mark.long]

SWEEP = ROOT / "configs/sweeps/table4.yaml"
BASE = ROOT / "configs/smoke.yaml"
ONCE = ("shapes", "tables", "detector", "regions", "phrases", "vocabulary", "corpus", "leaks")


def executions(log: str) -> Counter[str]:
    """Rule -> how often Snakemake began it, in all parts of the sweep; shards and variants counted each."""
    return Counter(re.findall(r"^(?:local)?rule (?:data|stage1|stage2|run)_[0-9a-f]{8}_(\w+):$", log, re.M))


def test_table_4_as_arrays_of_jobs(slurm: Cluster, tmp_path: Path) -> None:
    """Begun with one seed and cancelled; then run with two."""
    resources = on_slurm(1, 1, minutes=30).model_dump(mode="json", exclude_none=True)
    parts = ("pretraining", "finetuning", "extraction", "phrases", "captioning", "prediction")
    base = tmp_path / "base.yaml"
    own = {"name": "base", "extends": str(BASE), "results": str(tmp_path / "results")}
    base.write_text(yaml.safe_dump({**own, "launch": {part: resources for part in parts}}))
    plan = plans.make(load(SWEEP, {"base": base, "seeds": [1, 2]}), [])

    def sweep(seeds: str, *more: str) -> list[str]:
        return [str(VLP / "vlp"), "sweep", str(SWEEP), "--base", str(base), "--seeds", seeds, "--cores", "6", *more]

    def run(*words: str) -> str:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=environment())
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        return done.stdout + done.stderr

    with (tmp_path / "log").open("w") as log:
        first = subprocess.Popen(sweep("1"), cwd=ROOT, stdout=log, stderr=log, env=environment())
        at_work = re.compile(r"stage1-\w{8}/stage1 ")
        slurm.wait_for(
            "a job of stage 1",
            lambda: (
                first.poll() is not None
                or any(j.last.status == "sent" and at_work.match(f"{j.rule} ") for j in jobs(plan.folder))
            ),
            1200,
        )
        cancelled = re.search(r"(\d+) jobs cancelled", run(*sweep("1", "--cancel")))
        assert cancelled and int(cancelled[1]) >= 1
        assert first.wait(120) != 0
    before = executions((tmp_path / "log").read_text())
    found = executions(run(*sweep("1,2")))
    print("rule executions:", dict(sorted(before.items())), "then", dict(sorted(found.items())))
    assert {rule: before[rule] + found[rule] for rule in ONCE} == dict.fromkeys(ONCE, 1)
    assert (len(plan.of("stage1")), len(plan.of("stage2"))) == (12, 18)
    assert 12 - before["stage1"] <= found["stage1"] <= 12 and found["stage2"] == 18
    assert found["finetune"] == 3 * len(plan.of("run")) == 54 and found["results"] == 18

    sent = [job.last for job in jobs(plan.folder)]
    assert all(last.executor == "slurm" and last.status == "taken" for last in sent)
    assert len(sent) == 2 + 12 + 18 + 3 * 18 + 4 * 18, "data, stages, fine-tunings, predictions"
    arrays = Counter((last.job or "").partition("_")[0] for last in sent)
    assert max(arrays.values()) > 2 and sum(n > 1 for n in arrays.values()) > 10
    print(f"{len(sent)} jobs in {len(arrays)} arrays")

    with (plan.folder / "sweep.csv").open() as file:
        cells = list(csv.DictReader(file))
    assert {c["row"] for c in cells} == set(plan.runs)
    assert {c["seeds"] for c in cells} == {"2"} and all(c["sd"] for c in cells)
    report = (plan.folder / "report.html").read_text()
    assert all(html.escape(row) in report for row in plan.runs)
    _in_mlflow(plan)
    assert not executions(run(*sweep("1,2"))), "nothing is made twice"


def _in_mlflow(plan: plans.Plan) -> None:
    """One parent run over those of all parts."""
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{plan.folder / 'mlflow.db'}"
    subprocess.run([sys.executable, "-c", "from vlp.cli import main; main()", "tracking", "sync", "--plan",
                    str(plan.folder / "plan.yaml")], cwd=ROOT, check=True)  # fmt: skip
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("table4")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=5000)
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    assert len(parents) == 1 and {r.info.status for r in runs} == {"FINISHED"}
    stages = Counter(r.data.tags.get("stage") for r in runs)
    assert (stages["stage1"], stages["stage2"]) == (12, 18)
