"""Training through a real SLURM: the same bits as on this host, failures told, cancelled jobs noticed."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.launch import jobs
from tests.slurm.sacct import records
from tests.training.tiny_run import train, weights
from vlp.config.launch import Resources
from vlp.errors import VlpError
from vlp.launch import run

pytestmark = pytest.mark.slurm


def on_slurm(partition: str, nodes: int, tasks: int) -> Resources:
    return Resources(executor="slurm", partition=partition, nodes=nodes, tasks_per_node=tasks, memory_gb=2, minutes=10)


@pytest.fixture(scope="module")
def local(tiny_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Weights of two ranks on this host."""
    folder = tmp_path_factory.mktemp("local")
    train(tiny_inputs, folder, "stage2", Resources(executor="local", tasks_per_node=2))
    return weights(folder).read_bytes()


def test_ranks_are_where_they_were_asked_for(slurm: str, tmp_path: Path) -> None:
    found = run(jobs.about, {"value": 2.0}, on_slurm(slurm, nodes=2, tasks=1), tmp_path, "about")
    assert found == {"total": 5.0, "threads": 1, "nodes": ["n1", "n2"], "world": 2}


@pytest.mark.parametrize("nodes, tasks", [(1, 2), (2, 1)])
def test_a_training_gives_the_local_executors_bits(
    slurm: str, tiny_inputs: Path, local: bytes, tmp_path: Path, nodes: int, tasks: int
) -> None:
    result = train(tiny_inputs, tmp_path, "stage2", on_slurm(slurm, nodes, tasks))
    assert result["steps"] == 40
    assert weights(tmp_path).read_bytes() == local


def test_a_failed_job_names_its_log_and_shows_the_end(slurm: str, tmp_path: Path) -> None:
    with pytest.raises(VlpError) as error:
        run(jobs.fail, {"rank": 1}, on_slurm(slurm, nodes=2, tasks=1), tmp_path, "broken")
    log = next(tmp_path.glob("jobs/*/*/*_1_log.err"))
    assert str(log) in str(error.value) and "row 7 is bad" in str(error.value)


def test_a_job_that_slurm_does_not_take_says_why(slurm: str, tmp_path: Path) -> None:
    with pytest.raises(VlpError, match=r"(?s)about: the job was not taken by slurm: .*[Ii]nvalid partition"):
        run(jobs.about, {"value": 2.0}, on_slurm("nowhere", nodes=1, tasks=1), tmp_path, "about")


def test_a_cancelled_job_ends_as_an_error(slurm: str, tmp_path: Path) -> None:
    cancelled = []

    def cancel() -> None:
        while not (tmp_path / "0.pid").exists():
            time.sleep(0.2)
        job = subprocess.check_output(["squeue", "--noheader", "--name=lost", "--format=%i"], text=True).strip()
        subprocess.check_call(["scancel", job])
        cancelled.append(time.monotonic())

    thread = threading.Thread(target=cancel, daemon=True)
    thread.start()
    with pytest.raises(VlpError, match=r"lost: job .*Its log: "):
        run(jobs.wait, {"folder": tmp_path, "seconds": 120}, on_slurm(slurm, 1, 1), tmp_path, "lost")
    assert time.monotonic() - cancelled[0] < 60


def test_the_stand_in_reads_scontrols_lines() -> None:
    line = "JobId=7 JobName=a b UserId=root(0) JobState=CANCELLED Reason=None NodeList=(null) NumNodes=1"
    assert records(f"{line}\n\n") == [{"JobID": "7", "State": "CANCELLED", "NodeList": "None assigned"}]
