"""Run a function on every rank: in this process, or through submitit's debug, local or slurm executor."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vlp.config.launch import Resources
from vlp.errors import ConfigError, Preempted, VlpError
from vlp.launch import driver, fence, gather, record, snapshot
from vlp.launch.record import Record
from vlp.launch.scheduler import Look, Slurm
from vlp.launch.states import Judge, State, Verdict
from vlp.launch.task import AGAIN, Stopped, Task, call

LOG_LINES = 30
ASK_SECONDS = 10.0
"""The scheduler is asked so often; result files are looked for every second."""
TELL_SECONDS = 600.0
"""So often a job that waits, or a scheduler that does not answer, is told of."""
FRUITLESS = 3
"""A job that the cluster took away is sent again, but not after so many submissions without a new checkpoint."""
LOCAL_GRACE = 1.0


class Interrupted(Preempted):
    """Nothing is lost: a checkpoint, or a job that goes on, is there for the next run of the same command."""

    def __init__(self, message: str, step: int, number: int) -> None:
        self.step, self.signal = step, number
        VlpError.__init__(self, message)


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
        return _launch(resources)(function, kwargs, resources, folder, name, reads or {}).run()


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
        return _launch(resources)(function, kwargs, resources, folder, name, reads or {}, alone=True).run()


def taken(folder: Path) -> None:
    """What the run's job made is in its place: the next call of `run` sends a new one."""
    last = record.read(folder)
    if last is not None and last.status == "success":
        record.write(folder, last, status="taken")


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


class _Launch:
    """One call of `run` with a scheduler."""

    judge = staticmethod(Judge)

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

    # -- what a scheduler differs in -----------------------------------------------------------------------------
    def send(self, last: Record) -> Record:
        """Submit the job of `last`, whose status is `sending`; returns it with its id."""
        raise NotImplementedError

    def look(self, last: Record) -> Look:
        raise NotImplementedError

    def cancel(self, last: Record) -> None:
        raise NotImplementedError

    def previous(self) -> Record | None:
        """A job that was sent for the same work and can still give its result."""
        raise NotImplementedError

    # -- what all have in common ---------------------------------------------------------------------------------
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
        with _environment(_imports(task.code)):
            job = executor.submit(task)
        folder = str(job.paths.folder)
        return record.write(self.folder, last, status="sent", job=job.job_id, folder=folder), job

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


def send_together(tasks: list[Task], own: dict[str, Any], place: Path, comment: str) -> list[tuple[str, str]]:
    """Send one job, or several as an array; the comment finds them in the queue.

    Args:
        own: submitit's parameters.
        place: folder of submitit's files, with `%j`; new for each submission: ids come again on a cluster set up anew.

    Returns:
        Id and folder of each.
    """
    import submitit

    # A signal that comes before Python has its handlers would end it as a failure.
    python = f"env --ignore-signal=USR2 {shlex.quote(sys.executable)}"
    executor = submitit.AutoExecutor(folder=place, cluster="slurm", slurm_python=python)
    extra = own["slurm_additional_parameters"] | {"comment": comment}
    executor.update_parameters(**(own | {"slurm_additional_parameters": extra}))
    with executor.batch():
        jobs = [executor.submit(task) for task in tasks]
    return [(job.job_id, str(job.paths.folder)) for job in jobs]


class OnSlurm(_Launch):
    def __init__(self, *arguments: Any, slurm: Slurm | None = None, alone: bool = False) -> None:
        super().__init__(*arguments, alone=alone)
        self.slurm = slurm or Slurm()

    def send(self, last: Record) -> Record:
        task = self.task(last, None, snapshot.environment())
        setup = [f"export {name}={value!r}" for name, value in _imports(task.code).items()]
        array, own = self.resources.array, parameters(self.resources) | {"slurm_setup": setup}
        if array is None:
            place = self.folder / "jobs" / last.token / "%j"
            [(job, folder)] = send_together([task], own | {"name": self.name}, place, last.token)
        else:
            request = gather.Request(own | {"name": array.parent.name}, task)
            job, folder = gather.submit(array, last.token, request, self.slurm, send_together)
        return record.write(self.folder, last, status="sent", job=job, folder=folder)

    def look(self, last: Record) -> Look:
        assert last.job is not None
        return self.slurm.look(last.job)

    def cancel(self, last: Record) -> None:
        with contextlib.suppress(OSError):
            job = last.job or self._sent(last.token)
            if job is not None:
                self.slurm.cancel(job)

    def previous(self) -> Record | None:
        last = record.read(self.folder)
        if last is None or last.executor != "slurm":
            return None
        if last.status == "sending":
            # Its sender died before it had the id. submitit's files are not all there, so the job can not work.
            self._clear(last, self._find(last.token))
            return None
        if last.status in ("sent", "success") and last.key == self.key:
            return last
        # Also one that failed or was cancelled lives on until SLURM has killed it.
        self._clear(last, last.job)
        return None

    def _sent(self, token: str) -> str | None:
        """The job of a submission whose id was not noted. Raises OSError: the queue can not be read."""
        if self.resources.array is not None:
            return gather.withdraw(self.resources.array, token)
        return self.slurm.find(token)

    def _find(self, token: str) -> str | None:
        while True:
            try:
                return self._sent(token)
            except OSError as error:
                print(f"{self.name}: is a job of {token} in the queue? {error}", flush=True)
                time.sleep(ASK_SECONDS)

    def _clear(self, last: Record, job: str | None) -> None:
        """Cancel the job and wait until the queue has lost it: two must not write into one directory."""
        if job is None:
            return
        told = float("-inf")
        while (look := self.slurm.look(job)).state not in _OVER:
            if last.status in ("sending", "sent"):
                self.slurm.cancel(job)
            if time.monotonic() - told > TELL_SECONDS:
                print(
                    f"{self.name}: waiting until the former job {job} is gone ({look.word} {look.detail})", flush=True
                )
                told = time.monotonic()
            time.sleep(2.0)


_OVER = frozenset(State) - {State.WAITING, State.RUNNING, State.UNKNOWN}


class _Local(_Launch):
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


class _Debug(_Launch):
    """submitit's debug executor: one task in this process; an error opens the debugger."""

    def run(self) -> Any:
        if self.tasks != 1:
            raise VlpError("launch: the executor `debug` runs one task, in this process.")
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


def _launch(resources: Resources) -> type[_Launch]:
    return {"debug": _Debug, "local": _Local, "slurm": OnSlurm}[resources.executor]


def _inline(function: Callable[..., Any], kwargs: dict[str, Any], resources: Resources, folder: Path) -> Any:
    from vlp.training.engine import leave_process_group

    if resources.nodes * resources.tasks_per_node != 1:
        raise VlpError("launch: the executor `inline` runs one task; use `local` for several on this host.")
    folder.mkdir(parents=True, exist_ok=True)
    rank = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    rank |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}  # not used, but DeepSpeed asks for them
    with tempfile.TemporaryDirectory(prefix="vlp-") as scratch, _environment(rank):
        try:
            return call(function, kwargs, resources.threads, Path(scratch) / "rendezvous")
        finally:
            leave_process_group()


def _imports(code: Path) -> dict[str, str]:
    """Environment in which Python imports this package from `code` and not from the current directory."""
    more = [str(Path(p).resolve()) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    return {"PYTHONPATH": os.pathsep.join([str(code), *more]), "PYTHONSAFEPATH": "1"}


@contextlib.contextmanager
def _environment(names: Mapping[str, str]) -> Iterator[None]:
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
