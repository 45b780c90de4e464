"""What happens to jobs in their days on a cluster: each ends with the bits of an undisturbed training."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.launch import jobs
from tests.slurm.lab import LOW, PARTITION, Cluster
from tests.slurm.use import on_slurm, when
from tests.training.tiny_run import ROOT, train, weights
from vlp.config.launch import Resources
from vlp.errors import VlpError
from vlp.launch import record, run_alone

pytestmark = pytest.mark.slurm
LONG = {"epochs": 60, "log_every": 1}
"""300 steps of some 20 ms each, so that there is time for something to happen."""
STEPS = 300


@pytest.fixture(scope="module")
def undisturbed(tiny_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("undisturbed")
    train(tiny_inputs, folder, "stage1", Resources(executor="inline"), **LONG)
    return weights(folder).read_bytes()


def steps(folder: Path) -> list[int]:
    """Steps that the logs of rank 0 tell, in the order in which they were done."""
    logs = sorted(folder.glob("run/jobs/*/*/*_0_log.out"), key=lambda p: p.stat().st_mtime_ns)
    return [int(n) for n in re.findall(r"^step (\d+)/\d+ ", "".join(p.read_text() for p in logs), re.M)]


def training(folder: Path) -> bool:
    return len(steps(folder)) > 10


def repeated(folder: Path) -> int:
    """Steps that were done more than once."""
    found = steps(folder)
    return len(found) - len(set(found))


def test_a_preempted_job_goes_on_without_losing_a_step(
    slurm: Cluster, tiny_inputs: Path, undisturbed: bytes, tmp_path: Path
) -> None:
    sent: list[str] = []

    def preempt() -> None:
        """A job of the higher partition that wants the whole cluster for a moment."""
        sent.append(slurm.job("tiny"))
        wanted = ["--nodes=2", "--exclusive", "--time=5", f"--partition={PARTITION}", "--output=/dev/null"]
        subprocess.check_call(["sbatch", *wanted, "--wrap=sleep 2"], stdout=subprocess.DEVNULL)

    with when(lambda: training(tmp_path), preempt):
        train(tiny_inputs, tmp_path, "stage1", on_slurm(1, 1, LOW), **LONG)
    assert slurm.restarts(sent[0]) == 1 and repeated(tmp_path) == 0
    assert steps(tmp_path) == list(range(1, STEPS + 1))
    assert weights(tmp_path).read_bytes() == undisturbed


def test_a_shard_that_is_told_goes_back_into_the_queue_and_finishes(slurm: Cluster, tmp_path: Path) -> None:
    """What it had finished is not done again."""
    run_dir = tmp_path / "runs" / "shard"

    def tell() -> None:
        [job] = slurm.asks("squeue", "--noheader", "--format=%i").split()
        subprocess.check_call(["scancel", "--signal=USR2", job])

    with when(lambda: (tmp_path / "waits").exists(), tell):
        work = {"folder": tmp_path, "parts": 3}
        assert run_alone(jobs.finish_what_is_left, work, on_slurm(1, 1), run_dir, "shard") == [0, 1]
    assert len(list(tmp_path.glob("start-*"))) == 2 and len(list(run_dir.glob("jobs/2*"))) == 1


def test_scontrol_requeue_loses_at_most_a_step(
    slurm: Cluster, tiny_inputs: Path, undisturbed: bytes, tmp_path: Path
) -> None:
    sent: list[str] = []

    def requeue() -> None:
        sent.append(slurm.job("tiny"))
        subprocess.check_call(["scontrol", "requeue", sent[0]])

    with when(lambda: training(tmp_path), requeue):
        train(tiny_inputs, tmp_path, "stage1", on_slurm(1, 1), **LONG)
    assert slurm.restarts(sent[0]) == 1 and repeated(tmp_path) <= 1
    assert weights(tmp_path).read_bytes() == undisturbed


def test_scancel_is_for_good_and_the_next_call_goes_on(
    slurm: Cluster, tiny_inputs: Path, undisturbed: bytes, tmp_path: Path
) -> None:
    def cancel() -> None:
        subprocess.check_call(["scancel", slurm.job("tiny")])

    with when(lambda: training(tmp_path), cancel), pytest.raises(VlpError, match="the job was cancelled"):
        train(tiny_inputs, tmp_path, "stage1", on_slurm(1, 1), **LONG)
    assert not slurm.job("tiny")
    train(tiny_inputs, tmp_path, "stage1", on_slurm(1, 1), **LONG)
    assert repeated(tmp_path) <= 1 and weights(tmp_path).read_bytes() == undisturbed


def driver(inputs: Path, folder: Path) -> subprocess.Popen[bytes]:
    """The training through SLURM in a process of its own."""
    command = [sys.executable, "-m", "tests.slurm.test_events", str(inputs), str(folder)]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True)


def test_a_killed_driver_leaves_its_job_and_the_next_one_takes_it_over(
    slurm: Cluster, tiny_inputs: Path, undisturbed: bytes, tmp_path: Path
) -> None:
    first = driver(tiny_inputs, tmp_path)
    slurm.wait_for("steps", lambda: training(tmp_path), 120)
    job = slurm.job("tiny")
    first.kill()
    first.wait()
    train(tiny_inputs, tmp_path, "stage1", on_slurm(1, 1), **LONG)
    last = record.read(tmp_path / "run")
    assert last is not None and last.job == job and repeated(tmp_path) == 0
    assert len(list(tmp_path.glob("run/jobs/2*"))) == 1
    assert weights(tmp_path).read_bytes() == undisturbed


def test_ctrl_c_cancels_the_job(slurm: Cluster, tiny_inputs: Path, tmp_path: Path) -> None:
    first = driver(tiny_inputs, tmp_path)
    slurm.wait_for("steps", lambda: training(tmp_path), 120)
    job = slurm.job("tiny")
    first.send_signal(signal.SIGINT)
    assert first.wait(30) != 0
    slurm.wait_for("the end of the job", lambda: slurm.state(job) == "CANCELLED", 30)
    last = record.read(tmp_path / "run")
    assert last is not None and last.status == "cancelled"


@pytest.mark.long
def test_a_killed_node_costs_what_was_not_saved(
    slurm: Cluster, tiny_inputs: Path, undisturbed: bytes, tmp_path: Path
) -> None:
    """SLURM starts the job again where there is a node; the step files are those of the last checkpoint."""
    killed: list[int] = []

    def kill() -> None:
        node = slurm.asks("squeue", "--noheader", "--name=tiny", "--format=%N")
        killed.append(int(node.removeprefix("n")))
        slurm.kill_node(killed[0])

    try:
        with when(lambda: (tmp_path / "run" / "checkpoints").exists() and training(tmp_path), kill):
            train(tiny_inputs, tmp_path, "stage1", on_slurm(1, 1), checkpoint_minutes=0.02, **LONG)
        assert weights(tmp_path).read_bytes() == undisturbed
        assert repeated(tmp_path) > 0, "nothing was lost: the node was not killed"
    finally:
        for node in killed:
            slurm.start_node(node)
            time.sleep(2)
            slurm.asks("scontrol", "update", f"nodename=n{node}", "state=resume")


@pytest.mark.long
def test_a_time_limit_that_is_hit_twice_loses_no_step(slurm: Cluster, tiny_inputs: Path, tmp_path: Path) -> None:
    """Limits are whole minutes; SLURM may announce their end a minute early."""
    quick = train(tiny_inputs, tmp_path / "quick", "stage1", Resources(executor="inline"), **LONG)
    # Two and a half minutes of steps, however quick this machine is.
    epochs = LONG["epochs"] * 150.0 / quick["seconds"]
    slow, whole = {"epochs": epochs, "log_every": 1}, tmp_path / "whole"
    train(tiny_inputs, whole, "stage1", Resources(executor="inline"), **slow)
    cut = tmp_path / "cut"
    sent: list[str] = []
    with when(lambda: training(cut), lambda: sent.append(slurm.job("tiny"))):
        train(tiny_inputs, cut, "stage1", on_slurm(1, 1, minutes=1, signal_delay_seconds=15), **slow)
    assert slurm.restarts(sent[0]) >= 2, "too quick to hit its limit twice"
    assert repeated(cut) == 0 and weights(cut).read_bytes() == weights(whole).read_bytes()


if __name__ == "__main__":
    train(Path(sys.argv[1]), Path(sys.argv[2]), "stage1", on_slurm(1, 1), **LONG)
