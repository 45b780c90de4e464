"""`jobs/job.json` in a run directory: the job that was sent for it, so that another process can wait for it too."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from vlp.errors import InputError, VlpError
from vlp.files import lock, read_json, to_json, write_json
from vlp.launch.states import Result

NAME = "job.json"
RUN_OF_ITS_OWN = {"launch", "tracking", "sources"}
"""Parts of an experiment that do not change what a job computes."""

ELSEWHERE = "elsewhere"
"""Executor, in a copy of a run directory, of the job at work in the first one: nobody here waits for it or ends it."""

Status = Literal["sending", "sent", "success", "failed", "cancelled", "taken"]
"""taken: success, and its files stand where they were wanted."""


@dataclass(frozen=True)
class Record:
    token: str
    """Of this submission; also the name of its folder in `jobs/`, and SLURM's comment."""
    name: str
    key: str
    """Digest of what the job computes, and of its inputs."""
    executor: str
    tasks: int
    status: Status
    job: str | None = None
    folder: str | None = None
    """Of submitit's files: results and logs."""
    sent: float = 0.0
    tries: int = 1
    """Submissions of the same work, this one included."""
    host: str = ""
    process: int = 0
    """Who sent it."""
    problem: str = ""
    place: str = ""
    """The run directory that it was sent from."""

    def paths(self, task: int = 0) -> Any:
        """submitit's names of the files of one task."""
        from submitit.core.utils import JobPaths

        return JobPaths(self.folder or ".", self.job, task)

    def results(self) -> list[Result | None]:
        """How each task ended, as far as it has written so; a file that is being written, or damaged, says nothing."""
        return [outcome for outcome, _ in map(self._result, range(self.tasks))]

    def value(self) -> Any:
        """What rank 0 returned."""
        return self._result(0)[1]

    def _result(self, task: int) -> tuple[Result | None, Any]:
        from submitit.core.utils import pickle_load

        path = Path(self.paths(task).result_pickle)
        with contextlib.suppress(OSError):
            os.scandir(path.parent).close()  # makes a shared file system look again
        try:
            outcome, value = pickle_load(path)
        except Exception:
            return None, None
        return (outcome, value) if outcome in ("success", "error") else (None, None)


def path(run_dir: Path) -> Path:
    return run_dir / "jobs" / NAME


def read(run_dir: Path) -> Record | None:
    """None: no job was ever sent. Raises InputError: the record is damaged."""
    file = path(run_dir)
    if not file.exists():
        return None
    try:
        return _beside(Record(**read_json(file)), run_dir)
    except TypeError as error:
        raise InputError(
            file,
            f"not the record of a job ({error}).",
            "Look with squeue whether a job of this run is at work, scancel it, and remove the file.",
        ) from error


def _beside(record: Record, run_dir: Path) -> Record:
    """The record as it is read in `run_dir`, which may have been moved or copied since."""
    folder = record.folder
    own = f"/jobs/{record.token}/"
    if folder is not None and own in folder:  # absolute in records of earlier versions
        folder = str(run_dir.resolve() / "jobs" / record.token / folder.rpartition(own)[2])
    elif folder is not None:
        folder = str((run_dir / folder).resolve())
    record = replace(record, folder=folder)
    if record.status in ("sending", "sent") and record.place and _is_another(Path(record.place), run_dir):
        problem = f"sent from {record.place}, of which this is a copy"
        return replace(record, status="failed", executor=ELSEWHERE, problem=problem)
    return record


def _is_another(there: Path, here: Path) -> bool:
    """Both are there: a folder that was moved, or that this host knows by another path, is the same."""
    try:
        return not there.samefile(here)
    except OSError:
        return False


def write(run_dir: Path, record: Record, **changes: Any) -> Record:
    """What is kept of it is relative to the run directory, where it lies in the experiment's folder or beside it."""
    record, here = replace(record, **changes), run_dir.resolve()
    folder = record.folder
    if folder is not None and Path(folder).resolve().is_relative_to(here.parents[min(2, len(here.parents) - 1)]):
        folder = os.path.relpath(Path(folder).resolve(), here)
    write_json(path(run_dir), asdict(replace(record, folder=folder, place=str(here))))
    return record


def new(token: str, name: str, key: str, executor: str, tasks: int, tries: int) -> Record:
    here = socket.gethostname()
    return Record(token, name, key, executor, tasks, "sending", None, None, time.time(), tries, here, os.getpid())


def key(function: str, kwargs: Mapping[str, Any], tasks: int, threads: int, reads: Mapping[str, Path]) -> str:
    """Digest of what a job computes: function, arguments, shape of the run, and size and time of its inputs.

    Where it runs and for how long is left out: a job that is at work is not sent again for a change of partition.
    """
    seen = {name: [_signature(p) for p in _files(place)] for name, place in sorted(reads.items())}
    what = [function, {k: _plain(v) for k, v in sorted(kwargs.items())}, tasks, threads, seen]
    return hashlib.sha256(to_json(what, sort_keys=True, default=str).encode()).hexdigest()


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json", exclude=RUN_OF_ITS_OWN) if isinstance(value, BaseModel) else value


def _files(place: Path) -> list[Path]:
    return sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place]


def _signature(file: Path) -> list[Any]:
    there = file.stat() if file.exists() else None
    return [str(file), there and there.st_size, there and there.st_mtime_ns]


@contextlib.contextmanager
def held(run_dir: Path, seconds: float = 30.0) -> Iterator[None]:
    """Only one process at a time sends jobs of a run directory and waits for them.

    Raises:
        VlpError: another one still does after `seconds`.
    """
    file = path(run_dir).with_name(".lock")
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as handle:
        try:
            lock(handle, seconds)
        except TimeoutError as error:
            raise VlpError(
                f"{run_dir}: another process is waiting for this run's job. End that one first "
                "(the job itself goes on, and is taken over)."
            ) from error
        yield


def progress(run_dir: Path) -> int:
    """Step of the newest checkpoint, 0 if there is none."""
    steps = [p.name.rpartition("-")[2] for p in (run_dir / "checkpoints").glob("step-*")]
    return max((int(s) for s in steps if s.isdigit()), default=0)
