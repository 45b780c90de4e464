"""What runs in a job: sets up the rank, calls the function, answers signals."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from vlp.errors import Preempted, VlpError
from vlp.launch import fence, snapshot
from vlp.launch.driver import when_gone
from vlp.launch.scheduler import Slurm

AGAIN = "again"
"""File of a submission: it was stopped and saved, and could not be put back into the queue."""


class Told(Preempted):
    """Work without checkpoints is stopped where it is; what it has finished stays, and the next start goes on there."""

    def __init__(self, number: int) -> None:
        self.step, self.signal = 0, number
        VlpError.__init__(self, f"Stopped by signal {number}; what is finished is kept.")


def _tell(number: int, frame: FrameType | None) -> None:
    raise Told(number)


class Noted:
    """Handler of the stop signals before and after training: remembers them.

    A training that begins takes note of it (`StopRequest`): it saves after its first step. One that has ended is only
    writing its model, which is quicker than starting again.
    """

    number = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.number = number


@dataclass(frozen=True)
class Stopped:
    """A result: no result, but a checkpoint."""

    message: str
    step: int
    signal: int


@dataclass
class Task:
    """What submitit pickles."""

    function: Callable[..., Any]
    kwargs: dict[str, Any]
    threads: int
    folder: Path
    """The run directory."""
    token: str
    """Of the submission; its files are in `jobs/` of the run directory."""
    code: Path
    packages: dict[str, str] | None = None
    """None: not compared, the job starts at once."""
    alone: bool = False
    """One process without a group of ranks, and without torch if it needs none; a signal ends it where it is."""
    driver: int | None = None
    """Process to die with (local executor): else a killed driver leaves a training behind that nobody waits for."""

    def __call__(self) -> Any:
        from submitit import JobEnvironment

        environment = JobEnvironment()
        noted = Noted()
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, noted)
        if self.driver is not None:
            when_gone(self.driver, _end_alone)
        own = fence.Fence(self.folder, self.token, int(os.environ.get("SLURM_RESTART_COUNT") or 0))
        try:
            self._enter(own, environment)
            if self.alone:
                return self._alone()
            # SLURM gives a job the submitting shell's variables; submitit would take the port from there.
            os.environ.pop("MASTER_PORT", None)
            from submitit.helpers import TorchDistributedEnvironment

            TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
            os.environ["LOCAL_RANK"] = str(gpu_of(environment.local_rank, os.environ.get("CUDA_VISIBLE_DEVICES")))
            os.environ["OMP_NUM_THREADS"] = str(self.threads)
            result = call(self.function, self.kwargs, self.threads, self._rendezvous(environment))
        except Preempted as stop:
            return self._stopped(stop, environment)
        except BaseException:
            # A dying start must leave no result: its successor's would be taken for it.
            if not _owns(own):
                os._exit(1)
            raise
        # Not after a failure: the other ranks would fail too, before this rank has written what went wrong.
        from vlp.launch.group import leave_process_group

        leave_process_group()
        return result

    def _alone(self) -> Any:
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, _tell)
        try:
            return self.function(**self.kwargs)
        finally:
            for number in (signal.SIGUSR2, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)

    def _enter(self, own: fence.Fence, environment: Any) -> None:
        if self.packages is not None:
            snapshot.must_be(self.packages, self.code)
        if environment.global_rank == 0:
            own.claim()
        else:
            own.check()
        fence.enter(own)
        Path(environment.paths.result_pickle).unlink(missing_ok=True)  # of an earlier start of this job

    def _rendezvous(self, environment: Any) -> Path | None:
        """One host: through a file, so that no port can be taken; else through the first node's name."""
        if type(environment).name() == "slurm":
            return None
        return self.folder / "jobs" / self.token / f"rendezvous-{environment.job_id}"

    def _stopped(self, stop: Preempted, environment: Any) -> Stopped:
        """Every rank has saved. A job on this host tells its driver; one on SLURM leaves without a result.

        SIGUSR2 is SLURM's announcement (time limit, preemption): the job puts itself back into the queue. SIGTERM is
        the end itself, by scancel or by what requeues the job anyway: that is not ours to change.
        """
        if type(environment).name() != "slurm":
            return Stopped(str(stop), stop.step, stop.signal)
        if environment.global_rank == 0 and stop.signal == signal.SIGUSR2:
            print(f"{stop} Back into the queue.", flush=True)
            if not Slurm().requeue(environment.job_id):
                (self.folder / "jobs" / self.token / AGAIN).touch()
        raise SystemExit(0)


def call(function: Callable[..., Any], kwargs: dict[str, Any], threads: int, rendezvous: Path | None) -> Any:
    import torch

    from vlp.launch.group import init_process_group

    torch.set_num_threads(threads)
    init_process_group(rendezvous)
    return function(**kwargs)


def gpu_of(local_rank: int, visible: str | None) -> int:
    """Index of this task's GPU among those that it sees.

    SLURM shows a task all GPUs of the job on the node, or, where it binds them, its own alone.

    Args:
        visible: CUDA_VISIBLE_DEVICES; None: not set.

    Raises:
        VlpError: the task sees several GPUs, but fewer than there are tasks.
    """
    devices = [d for d in (visible or "").split(",") if d.strip()]
    if len(devices) == 1:
        return 0
    if devices and local_rank >= len(devices):
        raise VlpError(
            f"Task {local_rank} of this node sees only the GPUs {visible}. Ask for as many GPUs as tasks: "
            "launch.*.gpus_per_node, tasks_per_node."
        )
    return local_rank


def _owns(own: fence.Fence) -> bool:
    try:
        own.check()
    except fence.Fenced as error:
        print(error, file=sys.stderr, flush=True)
        return False
    except VlpError:
        return True
    return True


def _end_alone() -> None:
    sys.stderr.write("the driver is gone: this training ends; the next run resumes from its checkpoint\n")
    sys.stderr.flush()
    os._exit(3)
