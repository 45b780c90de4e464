"""Inline and local executors; resources in submitit's words. SLURM itself: tests/slurm."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch.distributed as dist

from tests.launch import jobs
from tests.training.tiny_run import ROOT
from vlp.config.launch import Resources
from vlp.errors import ConfigError, VlpError
from vlp.launch import run, run_alone
from vlp.launch.driver import alive
from vlp.launch.waiting import parameters


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.1)
    return true()


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "local"])
def test_work_alone_has_no_group(tmp_path: Path, executor: str) -> None:
    """And is not for several processes."""
    (tmp_path / "waits").touch()
    (tmp_path / "part.0").touch()
    resources = Resources.model_validate({"executor": executor})
    run_dir = tmp_path / "runs" / "shard"
    assert run_alone(jobs.finish_what_is_left, {"folder": tmp_path, "parts": 2}, resources, run_dir, "shard") == [0]
    assert (tmp_path / "part.1").exists() and not dist.is_initialized()
    two = resources.model_copy(update={"tasks_per_node": 2})
    with pytest.raises(ConfigError, match="shard is work of one process"):
        run_alone(jobs.finish_what_is_left, {"folder": tmp_path, "parts": 2}, two, run_dir, "shard")


def test_inline_runs_one_task_here(tmp_path: Path) -> None:
    before = dict(os.environ)
    found = run(jobs.about, {"value": 2.0}, Resources(executor="inline"), tmp_path / "run", "about")
    assert found == {"total": 2.0, "threads": 1, "nodes": ["here"], "world": 1}
    assert dict(os.environ) == before
    assert not dist.is_initialized()
    with pytest.raises(VlpError, match="row 7 is bad"):
        run(jobs.fail, {"rank": 0}, Resources(executor="inline"), tmp_path / "run", "fail")
    assert not dist.is_initialized()
    with pytest.raises(ValueError, match="inline runs one task; use local"):
        Resources(executor="inline", tasks_per_node=2)


@pytest.mark.slow
def test_local_runs_every_rank_and_gives_what_rank_0_returned(tmp_path: Path) -> None:
    resources = Resources(executor="local", tasks_per_node=2, threads=2)
    found = run(jobs.about, {"value": 2.0}, resources, tmp_path / "run", "about")
    assert found == {"total": 5.0, "threads": 2, "nodes": ["here", "here"], "world": 2}


@pytest.mark.slow
def test_a_failed_rank_is_the_one_whose_log_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(VlpError) as error:
        run(jobs.fail, {"rank": 1}, Resources(tasks_per_node=2), tmp_path / "run", "broken")
    message = str(error.value)
    assert "broken: job" in message and "row 7 is bad" in message
    log = next((tmp_path / "run").glob("jobs/*/*/*_1_log.err"))
    assert str(log) in message and "rank 1 is here" in log.read_text()
    assert str(log.parent) in capsys.readouterr().out  # a job's log is named when it starts


@pytest.mark.slow
def test_a_killed_driver_takes_its_training_with_it(tmp_path: Path) -> None:
    driver = subprocess.Popen([sys.executable, "-m", "tests.launch.jobs", str(tmp_path)], cwd=ROOT)
    try:
        assert wait_until(lambda: len(list(tmp_path.glob("*.pid"))) == 2, 300)
        ranks = [int(p.read_text()) for p in tmp_path.glob("*.pid")]
        assert all(alive(r) for r in ranks)
    finally:
        driver.kill()
    # Nobody has asked for the driver yet, so it is a zombie, as it stays where process 1 does not reap.
    assert wait_until(lambda: not any(alive(r) for r in ranks), 10)
    driver.wait()
    assert "the driver is gone" in next(tmp_path.glob("jobs/*/*/*_0_log.err")).read_text()


def test_resources_in_submitits_words() -> None:
    wanted = Resources(
        executor="slurm",
        nodes=2,
        tasks_per_node=8,
        gpus_per_node=8,
        cpus_per_task=6,
        memory_gb=200,
        minutes=90,
        partition="long",
        account="vision",
        qos="high",
        constraint="h200",
        signal_delay_seconds=60,
        extra={"exclusive": True},
    )
    assert parameters(wanted) == {
        "nodes": 2,
        "tasks_per_node": 8,
        "gpus_per_node": 8,
        "cpus_per_task": 6,
        "mem_gb": 200,
        "timeout_min": 90,
        "slurm_partition": "long",
        "slurm_account": "vision",
        "slurm_qos": "high",
        "slurm_constraint": "h200",
        "slurm_signal_delay_s": 60,
        "slurm_srun_args": ["--kill-on-bad-exit=1"],
        "slurm_additional_parameters": {"requeue": True, "exclusive": True},
    }
    # What is not given is left to the cluster; a local job knows none of it.
    least = parameters(Resources(executor="slurm"))
    assert not {"slurm_partition", "slurm_account", "slurm_qos", "slurm_constraint", "mem_gb"} & set(least)
    assert set(parameters(Resources())) == {"nodes", "tasks_per_node", "gpus_per_node", "timeout_min"}
