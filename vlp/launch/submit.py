"""Run a function on every rank: in this process, or through submitit's local or slurm executor."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlp.config.launch import Resources
from vlp.errors import Preempted, VlpError
from vlp.launch.driver import when_gone

LOG_LINES = 30
ASK_SECONDS = 20.0
"""SLURM is asked at least so often; submitit asks ever more rarely, in the end every ten minutes."""


def run(function: Callable[..., Any], kwargs: dict[str, Any], resources: Resources, folder: Path, name: str) -> Any:
    """Call `function(**kwargs)` on every rank; returns what rank 0 returned.

    Inside, `torch.distributed` is initialised and RANK, WORLD_SIZE, LOCAL_RANK are set.

    Args:
        function: importable by name (it is pickled by reference).
        folder: run directory; submitit's files and the logs go to its `jobs/`.

    Raises:
        VlpError: the job failed; the message holds the end of its log and where the rest is.
    """
    if resources.executor == "inline":
        return _inline(function, kwargs, resources, folder)
    import submitit

    # A folder for each start: job ids come again (local: process ids; SLURM: a cluster set up anew), and submitit takes
    # a result that lies there already for the job's.
    jobs = folder / "jobs" / f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
    jobs.mkdir(parents=True)
    executor = submitit.AutoExecutor(folder=jobs / "%j", cluster=resources.executor)
    executor.update_parameters(name=name, **parameters(resources))
    local = resources.executor == "local"
    try:
        job = executor.submit(Task(function, kwargs, resources.threads, jobs, os.getpid() if local else None))
    except Exception as error:
        raise VlpError(f"{name}: the job was not taken by {resources.executor}: {error}") from error
    print(f"{name}: {resources.executor} job {job.job_id}, log {job.paths.stdout}", flush=True)
    previous = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        for s in previous:
            signal.signal(s, _interrupt)
        _wait(job)
        return job.results()[0]
    except KeyboardInterrupt:
        job.cancel()
        raise
    except Exception as error:
        raise VlpError(_failure(name, job, error)) from error
    finally:
        for s, handler in previous.items():
            signal.signal(s, handler)


def parameters(r: Resources) -> dict[str, Any]:
    """The resource model in submitit's words."""
    common: dict[str, Any] = {
        "nodes": r.nodes,
        "tasks_per_node": r.tasks_per_node,
        "gpus_per_node": r.gpus_per_node,
        "timeout_min": r.minutes,
    }
    if r.executor == "local":
        return common
    slurm = {
        "slurm_partition": r.partition,
        "slurm_account": r.account,
        "slurm_qos": r.qos,
        "slurm_constraint": r.constraint,
    }
    common |= {k: v for k, v in slurm.items() if v is not None}
    if r.memory_gb is not None:
        common["mem_gb"] = r.memory_gb
    extra = {"requeue": True, **r.extra}
    return common | {
        "cpus_per_task": r.cpus_per_task,
        "slurm_signal_delay_s": r.signal_delay_seconds,
        "slurm_additional_parameters": extra,
    }


@dataclass
class Task:
    """What submitit pickles: sets up the rank, then calls the function."""

    function: Callable[..., Any]
    kwargs: dict[str, Any]
    threads: int
    jobs: Path
    driver: int | None
    """Process to die with (local executor): else a killed driver leaves a training behind that nobody waits for."""
    starts: int = 1
    """How often this job was started: requeued ranks must not meet in the file where the former ones did."""

    def __call__(self) -> Any:
        from submitit import JobEnvironment
        from submitit.helpers import TorchDistributedEnvironment

        from vlp.training.engine import leave_process_group

        if self.driver is not None:
            when_gone(self.driver, _end_alone)
        environment = JobEnvironment()
        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        os.environ["OMP_NUM_THREADS"] = str(self.threads)
        rendezvous = self.jobs / f"rendezvous-{environment.job_id}-{self.starts}" if self.driver is not None else None
        try:
            result = call(self.function, self.kwargs, self.threads, rendezvous)
        except Preempted as stop:
            if stop.signal != JobEnvironment._usr_sig():
                raise
            # All ranks have saved. submitit's handler is back in its place: on rank 0 it requeues the job and exits.
            signal.raise_signal(stop.signal)
            raise SystemExit(0) from stop
        # Not after a failure: the other ranks would fail too, before this rank has written what went wrong.
        leave_process_group()
        return result

    def checkpoint(self, *_: Any) -> Any:
        """submitit asks for this when the job is preempted: the same task again, which resumes from its checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(replace(self, starts=self.starts + 1))


def call(function: Callable[..., Any], kwargs: dict[str, Any], threads: int, rendezvous: Path | None) -> Any:
    import torch

    from vlp.training.engine import init_process_group

    torch.set_num_threads(threads)
    init_process_group(rendezvous)
    return function(**kwargs)


def _inline(function: Callable[..., Any], kwargs: dict[str, Any], resources: Resources, folder: Path) -> Any:
    from vlp.training.engine import leave_process_group

    if resources.nodes * resources.tasks_per_node != 1:
        raise VlpError("launch: the executor `inline` runs one task; use `local` for several on this host.")
    folder.mkdir(parents=True, exist_ok=True)
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    os.environ.update(zip(names, ("0", "1", "0", "1", "127.0.0.1", "0"), strict=True))
    with tempfile.TemporaryDirectory(prefix="vlp-") as scratch:
        try:
            return call(function, kwargs, resources.threads, Path(scratch) / "rendezvous")
        finally:
            leave_process_group()


def _end_alone() -> None:
    sys.stderr.write("the driver is gone: this training ends; the next run resumes from its checkpoint\n")
    sys.stderr.flush()
    os._exit(3)


def _wait(job: Any) -> None:
    asked = time.monotonic()
    while not job.done():
        time.sleep(0.5)
        if time.monotonic() - asked > ASK_SECONDS:
            job.get_info(mode="force")
            asked = time.monotonic()


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _failure(name: str, job: Any, error: Exception) -> str:
    """Shows the log of the rank that failed first: the others fail for the want of it."""
    from submitit.core.utils import pickle_load

    ranks = [job.task(i).paths for i in range(job.num_tasks)]
    failed = [p for p in ranks if p.result_pickle.exists() and pickle_load(p.result_pickle)[0] == "error"]
    path = min(failed, key=lambda p: p.result_pickle.stat().st_mtime_ns, default=ranks[0]).stderr
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    tail = "\n".join(lines[-LOG_LINES:])
    return f"{name}: job {job.job_id} failed ({type(error).__name__}). Its log: {path}\n{tail}"
