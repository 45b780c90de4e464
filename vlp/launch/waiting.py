"""A job that is sent, waited for, and sent again: what all schedulers have in common."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vlp.config.launch import Resources
from vlp.errors import Preempted, VlpError
from vlp.launch import driver, fence, record, snapshot
from vlp.launch.record import Record
from vlp.launch.scheduler import Look
from vlp.launch.states import Judge, State, Verdict
from vlp.launch.task import AGAIN, Stopped, Task

LOG_LINES = 30
ASK_SECONDS = 10.0
"""The scheduler is asked so often; result files are looked for every second."""
TELL_SECONDS = 600.0
"""So often a job that waits, or a scheduler that does not answer, is told of."""
FRUITLESS = 3
"""A job that the cluster took away is sent again, but not after so many submissions without a new checkpoint."""


class Interrupted(Preempted):
    """Nothing is lost: a checkpoint, or a job that goes on, is there for the next run of the same command."""

    def __init__(self, message: str, step: int, number: int) -> None:
        self.step, self.signal = step, number
        VlpError.__init__(self, message)


def parameters(r: Resources) -> dict[str, Any]:
    """The resource model in submitit's words."""
    common: dict[str, Any] = {
        "nodes": r.nodes,
        "tasks_per_node": r.tasks_per_node,
        "gpus_per_node": r.gpus_per_node,
        "timeout_min": r.minutes,
    }
    if r.executor != "slurm":
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
    return common | {
        "cpus_per_task": r.cpus_per_task,
        "slurm_signal_delay_s": r.signal_delay_seconds,
        # A rank that dies takes the others with it, which would wait for it until the time limit.
        "slurm_srun_args": ["--kill-on-bad-exit=1"],
        "slurm_additional_parameters": {"requeue": True, **r.extra},
    }


class Launch(ABC):
    """Work as a job: what it is, and how it is handed to submitit on this host."""

    def __init__(
        self,
        function: Callable[..., Any],
        kwargs: dict[str, Any],
        resources: Resources,
        folder: Path,
        name: str,
        reads: Mapping[str, Path],
        alone: bool = False,
    ) -> None:
        self.alone = alone
        self.function, self.kwargs, self.resources, self.folder, self.name = function, kwargs, resources, folder, name
        self.tasks = resources.nodes * resources.tasks_per_node
        what = f"{function.__module__}.{function.__qualname__}"
        self.key = record.key(what, kwargs, self.tasks, resources.threads, reads)

    @abstractmethod
    def run(self) -> Any:
        """Returns what rank 0 returned."""

    def task(self, last: Record, driver: int | None, packages: dict[str, str] | None) -> Task:
        code = snapshot.code(self.resources.array or self.folder / "jobs")
        folder = self.folder.resolve()
        rest = {"packages": packages, "driver": driver, "alone": self.alone}
        return Task(self.function, self.kwargs, self.resources.threads, folder, last.token, code, **rest)

    def submit(self, last: Record, task: Task) -> tuple[Record, Any]:
        """To this host, through submitit; returns the record and submitit's job."""
        import submitit

        # A folder for each submission: process ids come again.
        place = self.folder / "jobs" / last.token / "%j"
        executor = submitit.AutoExecutor(folder=place, cluster=self.resources.executor)
        executor.update_parameters(name=self.name, **parameters(self.resources))
        with environment_with(imports(task.code)):
            job = executor.submit(task)
        folder = str(job.paths.folder)
        return record.write(self.folder, last, status="sent", job=job.job_id, folder=folder), job


class Waiting(Launch):
    """One call of `run` with a scheduler."""

    judge = staticmethod(Judge)

    @abstractmethod
    def send(self, last: Record) -> Record:
        """Submit the job of `last`, whose status is `sending`; returns it with its id."""

    @abstractmethod
    def look(self, last: Record) -> Look:
        """The job's state, as the scheduler tells it."""

    @abstractmethod
    def cancel(self, last: Record) -> None:
        """End the job, if there is one."""

    @abstractmethod
    def previous(self) -> Record | None:
        """A job that was sent for the same work and can still give its result."""

    def run(self) -> Any:
        last: Record | None = None
        try:
            with _signals():
                last, fruitless = self.previous(), 0
                if last is not None:
                    self.say(last, "was sent before, and is taken over")
                while True:
                    at = record.progress(self.folder)
                    adopted = last is not None
                    last = last or self._send(fruitless)
                    verdict = self._wait(last)
                    if verdict.outcome == "success":
                        if not self._again(last):
                            return record.write(self.folder, last, status="success").value()
                        last = None
                        continue
                    status = "cancelled" if verdict.outcome == "cancelled" else "failed"
                    last = record.write(self.folder, last, status=status, problem=verdict.reason)
                    fruitless = 0 if record.progress(self.folder) > at else fruitless + 1
                    if not (adopted or verdict.outcome == "again") or fruitless > FRUITLESS:
                        raise VlpError(self._failure(last, verdict))
                    self.say(last, f"{verdict.reason}: it is sent again")
                    last = None
        except KeyboardInterrupt:
            with _ignored():
                self._abandon()
            raise
        except _EndWithoutJob as error:
            if self.resources.executor != "slurm":
                with _ignored():
                    self._abandon()
                raise KeyboardInterrupt from error
            told = f"{self.name}: job {last.job if last else ''} goes on; the next run of this command takes it over."
            raise Interrupted(told, record.progress(self.folder), int(signal.SIGTERM)) from error

    def _again(self, last: Record) -> bool:
        """Whether a job on this host was told of its end (its time limit) and has saved; other signals pass on."""
        value = last.value()
        if not isinstance(value, Stopped):
            return False
        record.write(self.folder, last, status="failed", problem=value.message)
        if value.signal != signal.SIGUSR2:
            raise Interrupted(value.message, value.step, value.signal)
        self.say(last, f"{value.message} It is sent again")
        return True

    def say(self, last: Record, what: str) -> None:
        print(f"{self.name}: {self.resources.executor} job {last.job} {what}", flush=True)

    def _send(self, tries: int) -> Record:
        token = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
        (self.folder / "jobs" / token).mkdir(parents=True)
        executor = self.resources.executor
        last = record.write(self.folder, record.new(token, self.name, self.key, executor, self.tasks, tries + 1))
        fence.hand_over(self.folder, token)
        try:
            last = self.send(last)
        except Exception as error:
            record.write(self.folder, last, status="failed", problem=f"not taken by {executor}: {error}")
            raise VlpError(f"{self.name}: the job was not taken by {executor}: {error}") from error
        self.say(last, f"sent, log {last.paths().stdout}")
        return last

    def _wait(self, last: Record) -> Verdict:
        judge, asked, look = self.judge(), float("-inf"), Look(State.UNKNOWN)
        told = time.monotonic()
        while True:
            now = time.monotonic()
            if now - asked >= ASK_SECONDS or self.resources.executor != "slurm":
                look, asked = self.look(last), now
            verdict = judge.see(look.state, last.results(), time.monotonic())
            if verdict is not None:
                stopped = (self.folder / "jobs" / last.token / AGAIN).exists()
                return Verdict("again", "stopped and saved") if stopped and verdict.outcome == "failed" else verdict
            if now - told > TELL_SECONDS and look.state is not State.RUNNING:
                self.say(last, f"{look.word or look.state.name} {look.detail}")
                told = now
            time.sleep(1.0 if self.resources.executor == "slurm" else 0.3)

    def _abandon(self) -> None:
        last = record.read(self.folder)
        if last is not None and last.status in ("sending", "sent"):
            self.cancel(last)
            record.write(self.folder, last, status="cancelled", problem="this process was interrupted")

    def _failure(self, last: Record, verdict: Verdict) -> str:
        """Shows the log of the rank that failed first: the others fail for the want of it."""
        failed = [last.paths(i) for i, r in enumerate(last.results()) if r == "error"]
        first = min(failed, key=lambda p: p.result_pickle.stat().st_mtime_ns, default=last.paths())
        log = first.stderr
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        tail = "\n".join(lines[-LOG_LINES:])
        again = ". It is not sent again: no new checkpoint" if verdict.outcome == "again" else ""
        return f"{self.name}: job {last.job}: {verdict.reason}{again}. Its log: {log}\n{tail}"


def imports(code: Path) -> dict[str, str]:
    """Environment in which Python imports this package from `code` and not from the current directory."""
    more = [str(Path(p).resolve()) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    return {"PYTHONPATH": os.pathsep.join([str(code), *more]), "PYTHONSAFEPATH": "1"}


@contextlib.contextmanager
def environment_with(names: Mapping[str, str]) -> Iterator[None]:
    """Set these variables for a while: what stays would reach the jobs that are sent later."""
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


class _EndWithoutJob(BaseException):
    """This process shall end, its job not."""


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Ctrl-C and `kill` end the job too; the end of the workflow or of the terminal does not."""

    def interrupt(number: int, frame: object) -> None:
        gone = number == signal.SIGHUP or (number == signal.SIGTERM and driver.orphaned.is_set())
        raise _EndWithoutJob if gone else KeyboardInterrupt

    with _handled(dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), interrupt)):
        yield


@contextlib.contextmanager
def _ignored() -> Iterator[None]:
    with _handled(dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), signal.SIG_IGN)):
        yield


@contextlib.contextmanager
def _handled(handlers: dict[signal.Signals, Any]) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in handlers}
    try:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
