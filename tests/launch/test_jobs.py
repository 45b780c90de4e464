"""What `vlp jobs` tells of a training comes from the lines that a training writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from vlp.launch import record
from vlp.launch.jobs import jobs
from vlp.training.meter import line

VALUES = {"loss": 3.25, "loss_vsc": 1.5, "learning_rate": 1e-4, "samples_per_second": 51.2, "data_wait": 0.01}
VALUES |= {"real_tokens_per_second": 2e3, "padded_tokens_per_second": 3e3, "memory_bytes": 2e9}


@pytest.mark.parametrize("rate, left", [(51.0, "0:31:22"), (0.5, "2 days, 5:20:00")])
@pytest.mark.parametrize("more", [{}, {"mfu": 0.4}])
def test_progress_is_the_last_line_of_the_log(tmp_path: Path, rate: float, left: str, more: dict[str, float]) -> None:
    run_dir = tmp_path / "runs" / "stage1"
    (run_dir / "jobs").mkdir(parents=True)
    sent = record.new("token", "stage1", "key", "slurm", 1, 1)
    record.write(run_dir, sent, status="sent", job="7", folder=str(run_dir / "jobs"))
    [job] = jobs(tmp_path)
    assert job.progress() is None
    assert job.log is not None
    lines = [line(step, 1600, VALUES | more, rate, 64) for step in (50, 100)]
    job.log.write_text("\n".join(["loading", *lines, "a line of something else", ""]))
    assert job.progress() == (100, 1600, 51, left)


@pytest.mark.parametrize("earlier", [False, True])
def test_a_copied_folder_shows_its_own_logs_and_leaves_the_first_ones_job_alone(tmp_path: Path, earlier: bool) -> None:
    first, copy = tmp_path / "first", tmp_path / "copy"
    run_dir = first / "runs" / "stage1"
    logs = run_dir / "jobs" / "token" / "7"
    logs.mkdir(parents=True)
    sent = record.new("token", "stage1", "key", "slurm", 1, 1)
    record.write(run_dir, sent, status="sent", job="7", folder=str(logs))
    (logs / "7_0_log.out").write_text("first")
    if earlier:  # paths were absolute, and nothing said where it was sent from
        file = record.path(run_dir)
        old = json.loads(file.read_text()) | {"folder": str(logs)}
        file.write_text(json.dumps({k: v for k, v in old.items() if k != "place"}))
    shutil.copytree(first, copy)
    [job] = jobs(copy)
    assert job.log == copy / "runs" / "stage1" / "jobs" / "token" / "7" / "7_0_log.out"
    if not earlier:
        # Whoever works in the copy must not wait for the job at work in the first, nor cancel it.
        assert (job.last.status, job.last.executor) == ("failed", record.ELSEWHERE) and not job.cancel()
        assert f"sent from {run_dir}, of which this is a copy" in job.last.problem
        shutil.rmtree(first)  # moved, not copied
        [job] = jobs(copy)
        assert (job.last.status, job.last.job) == ("sent", "7")
