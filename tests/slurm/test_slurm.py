"""Training through a real SLURM: the same bits as on this host, failures told, cancelled jobs noticed."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.launch import jobs
from tests.slurm.lab import GPUS, Cluster
from tests.slurm.use import on_slurm, when
from tests.training.tiny_run import train, weights
from vlp.config.launch import Resources
from vlp.errors import VlpError
from vlp.launch import run
from vlp.launch.waiting import ASK_SECONDS

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def local(tiny_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Weights of two ranks on this host."""
    folder = tmp_path_factory.mktemp("local")
    train(tiny_inputs, folder, "stage2", Resources(executor="local", tasks_per_node=2))
    return weights(folder).read_bytes()


def test_ranks_are_where_they_were_asked_for(slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also from a shell that knows of another group of ranks, which SLURM tells the job."""
    for name, value in {"MASTER_ADDR": "nowhere", "MASTER_PORT": "0", "RANK": "7", "WORLD_SIZE": "9"}.items():
        monkeypatch.setenv(name, value)
    found = run(jobs.about, {"value": 2.0}, on_slurm(nodes=2, tasks=1), tmp_path, "about")
    assert found == {"total": 5.0, "threads": 1, "nodes": ["n1", "n2"], "world": 2}


def test_every_task_has_a_gpu_of_its_own(slurm: Cluster, tmp_path: Path) -> None:
    found = run(jobs.gpus, {}, on_slurm(nodes=2, tasks=3, gpus_per_node=GPUS), tmp_path, "gpus")
    assert found == [[node, i] for node in ("n1", "n2") for i in range(3)]


@pytest.mark.parametrize("nodes, tasks", [(1, 2), (2, 1)])
def test_a_training_gives_the_local_executors_bits(
    slurm: Cluster, tiny_inputs: Path, local: bytes, tmp_path: Path, nodes: int, tasks: int
) -> None:
    result = train(tiny_inputs, tmp_path, "stage2", on_slurm(nodes, tasks))
    assert result["steps"] == 40
    assert weights(tmp_path).read_bytes() == local


def test_a_failed_job_names_its_log_and_shows_the_end(slurm: Cluster, tmp_path: Path) -> None:
    with pytest.raises(VlpError) as error:
        run(jobs.fail, {"rank": 1}, on_slurm(nodes=2, tasks=1), tmp_path, "broken")
    log = next(tmp_path.glob("jobs/*/*/*_1_log.err"))
    assert str(log) in str(error.value) and "row 7 is bad" in str(error.value)


def test_a_job_that_slurm_does_not_take_says_why(slurm: Cluster, tmp_path: Path) -> None:
    with pytest.raises(VlpError, match=r"(?s)about: the job was not taken by slurm: .*[Ii]nvalid partition"):
        run(jobs.about, {"value": 2.0}, on_slurm(1, 1, "nowhere"), tmp_path, "about")


@pytest.mark.parametrize("end", ["scancel", "kill"])
def test_without_accounting_an_end_is_noticed_within_30_seconds(slurm: Cluster, tmp_path: Path, end: str) -> None:
    """A cancelled job, and one whose task was killed."""
    ended: list[float] = []

    def stop(job: str) -> None:
        if end == "scancel":
            subprocess.check_call(["scancel", job])
        else:
            subprocess.check_call(["kill", "-KILL", (tmp_path / "0.pid").read_text()])
        slurm.wait_for("the end", lambda: slurm.state(job) in ("CANCELLED", "FAILED"))
        ended.append(time.monotonic())

    assert slurm.asks("sacct") == ""
    with when(lambda: (tmp_path / "0.pid").exists(), lambda: stop(slurm.job("lost"))):
        word = "the job was cancelled" if end == "scancel" else "the job failed"
        with pytest.raises(VlpError, match=rf"lost: job \d+: {word}. Its log: "):
            run(jobs.wait, {"folder": tmp_path, "seconds": 120}, on_slurm(1, 1), tmp_path, "lost")
        assert time.monotonic() - ended[0] < 30
        assert ASK_SECONDS < 30
