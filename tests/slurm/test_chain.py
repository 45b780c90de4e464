"""The smoke chain with its jobs on SLURM: the same models and numbers as on this host."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.slurm.lab import PARTITION, Cluster
from tests.workflow.chain import ROOT, VLP
from vlp.launch import record
from vlp.launch.jobs import jobs

pytestmark = pytest.mark.slurm

TWO = {"tasks_per_node": 2, "nodes": 1, "threads": 1, "memory_gb": 2, "minutes": 10}


def environment() -> dict[str, str]:
    """Of now: the cluster's fixture has set where its clients find it."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def command(results: Path, launch: dict[str, Any], cores: int, **more: Any) -> list[str]:
    """The chain into `results`, with shards of the extraction and of the texts."""
    changes = {
        "results": str(results),
        "launch": launch,
        "regions": {"extraction": {"shards": 2}},
        "phrases": {"shards": 3},
        "tasks": {**{t: {"variants": ["full"]} for t in ("retrieval", "vqa", "grounding")}, "entailment": None},
        **more,
    }
    override = results.parent / f"{results.name}.yaml"
    override.write_text(yaml.safe_dump(changes))
    snakemake = [str(VLP / "snakemake"), "--profile", "workflow/profiles/default", "--nolock", f"--cores={cores}"]
    return [*snakemake, "--configfile", "configs/smoke.yaml", str(override)]


def chain(results: Path, launch: dict[str, Any], cores: int, **more: Any) -> Path:
    words = command(results, launch, cores, **more)
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return results / "smoke"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    training = {"executor": "local", **TWO}
    results = tmp_path_factory.mktemp("local") / "results"
    return chain(results, {"pretraining": training, "finetuning": training}, 2)


def same_files(one: Path, other: Path, pattern: str) -> int:
    names = sorted(p.relative_to(one) for p in one.glob(pattern))
    assert names == sorted(p.relative_to(other) for p in other.glob(pattern))
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    return len(names)


def on_the_cluster(nodes: int, tasks: int) -> dict[str, Any]:
    training = {"executor": "slurm", "partition": PARTITION, **TWO, "nodes": nodes, "tasks_per_node": tasks}
    alone = {key: {**training, "nodes": 1, "tasks_per_node": 1} for key in ("extraction", "phrases", "prediction")}
    return {"pretraining": training, "finetuning": training, **alone}


def test_one_node_gives_the_bits_of_this_host(slurm: Cluster, local: Path, tmp_path: Path) -> None:
    """Of every model, the texts' phrases and all numbers; shards go as arrays."""
    found = chain(tmp_path / "results", on_the_cluster(1, 2), 8)
    assert same_files(local, found, "models/*/model.safetensors") == 5
    assert same_files(local, found, "phrases/phrases.parquet") == 1
    assert (found / "results.csv").read_bytes() == (local / "results.csv").read_bytes()
    sent = {j.rule: j.last for j in jobs(found)}
    assert {j.executor for j in sent.values()} == {"slurm"} and {j.status for j in sent.values()} == {"taken"}
    assert {j.tasks for rule, j in sent.items() if rule in ("stage1", "stage2", "vqa.full")} == {2}
    arrays = {rule: (j.job or "").split("_") for rule, j in sent.items() if "shard" in rule}
    assert len(arrays) == 5 and all(len(parts) == 2 for parts in arrays.values()), arrays
    assert len({parts[0] for rule, parts in arrays.items() if rule.startswith("phrases")}) == 1


def test_two_nodes_give_the_bits_of_this_host(slurm: Cluster, local: Path, tmp_path: Path) -> None:
    found = chain(tmp_path / "results", on_the_cluster(2, 1), 8, reuse={"data": str(local)})
    assert same_files(local, found, "models/*/model.safetensors") == 5
    assert (found / "results.csv").read_bytes() == (local / "results.csv").read_bytes()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_workflow_that_ends_leaves_its_job_or_cancels_it(
    slurm: Cluster, local: Path, tmp_path: Path, end: signal.Signals
) -> None:
    """SIGKILL of snakemake alone: the next one takes the job over. Ctrl-C cancels it: the next one sends another."""
    results = tmp_path / "results"
    run_dir = results / "smoke" / "runs" / "stage1"
    words = command(results, on_the_cluster(1, 2), 2, reuse={"data": str(local)})
    words += ["--until", "stage1"]

    def start() -> subprocess.Popen[bytes]:
        log = (tmp_path / "log").open("ab")
        return subprocess.Popen(words, cwd=ROOT, env=environment(), stdout=log, stderr=log, start_new_session=True)

    first = start()
    slurm.wait_for("the job", lambda: (found := record.read(run_dir)) and found.status == "sent", 120)
    sent = record.read(run_dir)
    assert sent is not None and sent.job is not None
    if end == signal.SIGINT:  # a terminal sends it to all that the workflow has started
        os.killpg(first.pid, end)
    else:
        first.send_signal(end)
    assert first.wait(60) != 0
    if end == signal.SIGINT:
        slurm.wait_for("the end of the job", lambda: slurm.state(sent.job or "") == "CANCELLED", 30)
    assert start().wait(300) == 0, (tmp_path / "log").read_text()[-3000:]
    last = record.read(run_dir)
    assert last is not None and (last.token == sent.token) == (end == signal.SIGKILL)
    assert same_files(local, results / "smoke", "models/stage1/model.safetensors") == 1
