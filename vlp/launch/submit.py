"""Run a function on every rank: in this process, or through submitit's local or slurm executor."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlp.config.launch import Resources
from vlp.errors import VlpError

LOG_LINES = 30


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

    jobs = folder / "jobs"
    jobs.mkdir(parents=True, exist_ok=True)
    executor = submitit.AutoExecutor(folder=jobs / "%j", cluster=resources.executor)
    executor.update_parameters(name=name, **parameters(resources))
    local = resources.executor == "local"
    task = Task(function, kwargs, resources.threads, folder, os.getpid() if local else None)
    job = executor.submit(task)
    print(f"{name}: {resources.executor} job {job.job_id}, log {job.paths.stdout}", flush=True)
    previous = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        for s in previous:
            signal.signal(s, _interrupt)
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
    folder: Path
    driver: int | None
    """Process to die with (local executor): else a killed driver leaves a training behind that nobody waits for."""

    def __call__(self) -> Any:
        from submitit import JobEnvironment
        from submitit.helpers import TorchDistributedEnvironment

        if self.driver is not None:
            _die_with(self.driver)
        environment = JobEnvironment()
        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        os.environ["OMP_NUM_THREADS"] = str(self.threads)
        rendezvous = self.folder / "jobs" / f"rendezvous-{environment.job_id}" if self.driver is not None else None
        return call(self.function, self.kwargs, self.threads, rendezvous)

    def checkpoint(self, *_: Any) -> Any:
        """submitit asks for this when the job is preempted: the same task again, which resumes from its checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def call(function: Callable[..., Any], kwargs: dict[str, Any], threads: int, rendezvous: Path | None) -> Any:
    import torch
    import torch.distributed as dist

    from vlp.training.engine import init_process_group

    torch.set_num_threads(threads)
    init_process_group(rendezvous)
    try:
        return function(**kwargs)
    finally:
        dist.destroy_process_group()


def _inline(function: Callable[..., Any], kwargs: dict[str, Any], resources: Resources, folder: Path) -> Any:
    if resources.nodes * resources.tasks_per_node != 1:
        raise VlpError("launch: the executor `inline` runs one task; use `local` for several on this host.")
    folder.mkdir(parents=True, exist_ok=True)
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    os.environ.update(zip(names, ("0", "1", "0", "1", "127.0.0.1", "0"), strict=True))
    with tempfile.TemporaryDirectory(prefix="vlp-") as scratch:
        return call(function, kwargs, resources.threads, Path(scratch) / "rendezvous")


def _die_with(driver: int) -> None:
    def watch() -> None:
        while Path(f"/proc/{driver}").exists():
            time.sleep(1.0)
        sys.stderr.write("the driver is gone: this training ends; the next run resumes from its checkpoint\n")
        sys.stderr.flush()
        os._exit(3)

    if Path("/proc").exists():
        threading.Thread(target=watch, daemon=True).start()


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _failure(name: str, job: Any, error: Exception) -> str:
    path = Path(job.paths.stderr)
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    tail = "\n".join(lines[-LOG_LINES:])
    return f"{name}: job {job.job_id} failed ({type(error).__name__}). Its log: {path}\n{tail}"
