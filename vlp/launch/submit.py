"""Run a function on every rank: in this process, or through submitit's debug, local or slurm executor."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vlp.config.launch import Resources
from vlp.errors import ConfigError
from vlp.launch import fence, record
from vlp.launch.on_slurm import OnSlurm
from vlp.launch.record import Record
from vlp.launch.scheduler import Look
from vlp.launch.states import Judge, State
from vlp.launch.task import call
from vlp.launch.waiting import Launch, Waiting, environment_with

LOCAL_GRACE = 1.0


def run(
    function: Callable[..., Any],
    kwargs: dict[str, Any],
    resources: Resources,
    folder: Path,
    name: str,
    reads: Mapping[str, Path] | None = None,
) -> Any:
    """Call `function(**kwargs)` on every rank; returns what rank 0 returned.

    Inside, `torch.distributed` is initialised and RANK, WORLD_SIZE, LOCAL_RANK are set. A job of the same work that an
    earlier process has sent is waited for, or its result taken, instead of sending another; call `taken` once what it
    made is where it is wanted.

    Args:
        function: importable by name (it is pickled by reference).
        folder: run directory; the job's record, submitit's files and the logs go to its `jobs/`.
        reads: the inputs; a job that was sent with others is not waited for but cancelled.

    Raises:
        VlpError: the job failed or was cancelled; the message holds the end of its log and where the rest is.
        Interrupted: a signal stopped the job, and its checkpoint is saved; or this process was told to end (its
            workflow is gone, the terminal was closed), and the job on SLURM goes on.
        KeyboardInterrupt: Ctrl-C; the job is cancelled.
    """
    if resources.executor == "inline":
        return _inline(function, kwargs, resources, folder)
    with record.held(folder):
        return _scheduler(resources)(function, kwargs, resources, folder, name, reads or {}).run()


def run_alone(
    function: Callable[..., Any],
    kwargs: dict[str, Any],
    resources: Resources,
    folder: Path,
    name: str,
    reads: Mapping[str, Path] | None = None,
) -> Any:
    """As `run`, for work of one process that needs no group of ranks: a shard, a prediction.

    Its files must be whole whenever it is killed, since a signal ends it where it is; started again, it goes on. Such
    jobs go to SLURM in arrays, which are gathered in `arrays` beside the folder of the runs.

    Raises:
        ConfigError: the resources are for more than one process.
    """
    if resources.nodes * resources.tasks_per_node != 1:
        raise ConfigError(f"launch: {name} is work of one process; nodes and tasks_per_node must be 1")
    if resources.executor == "inline":
        return function(**kwargs)
    if resources.executor == "slurm" and resources.array is None:
        resources = resources.model_copy(update={"array": folder.parents[1] / "arrays"})
    with record.held(folder):
        return _scheduler(resources)(function, kwargs, resources, folder, name, reads or {}, alone=True).run()


def taken(folder: Path) -> None:
    """What the run's job made is in its place: the next call of `run` sends a new one."""
    last = record.read(folder)
    if last is not None and last.status == "success":
        record.write(folder, last, status="taken")


class _Local(Waiting):
    """submitit's local executor: the job dies with this process, so none can be taken over; its result can."""

    judge = staticmethod(lambda: Judge(LOCAL_GRACE, LOCAL_GRACE))
    job: Any = None

    def send(self, last: Record) -> Record:
        last, self.job = self.submit(last, self.task(last, os.getpid(), None))
        return last

    def look(self, last: Record) -> Look:
        return Look(State.GONE if self.job is None or self.job.task(0).done() else State.RUNNING)

    def cancel(self, last: Record) -> None:
        if self.job is not None:
            self.job.cancel()

    def previous(self) -> Record | None:
        last = record.read(self.folder)
        done = last is not None and last.key == self.key and last.status in ("sent", "success")
        return last if last and done and all(r == "success" for r in last.results()) else None


class _Debug(Launch):
    """submitit's debug executor: one task in this process; an error opens the debugger."""

    def run(self) -> Any:
        try:
            _, job = self.submit(last := self._start(), self.task(last, None, None))
            return job.results()[0]
        finally:
            fence.leave()

    def _start(self) -> Record:
        token = f"debug-{uuid.uuid4().hex[:6]}"
        (self.folder / "jobs" / token).mkdir(parents=True)
        fence.hand_over(self.folder, token)
        return record.new(token, self.name, self.key, "debug", 1, 1)


def _scheduler(resources: Resources) -> type[Launch]:
    return {"debug": _Debug, "local": _Local, "slurm": OnSlurm}[resources.executor]


def _inline(function: Callable[..., Any], kwargs: dict[str, Any], resources: Resources, folder: Path) -> Any:
    from vlp.launch.group import leave_process_group

    folder.mkdir(parents=True, exist_ok=True)
    rank = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    rank |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}  # not used, but DeepSpeed asks for them
    with tempfile.TemporaryDirectory(prefix="vlp-") as scratch, environment_with(rank):
        try:
            return call(function, kwargs, resources.threads, Path(scratch) / "rendezvous")
        finally:
            leave_process_group()
