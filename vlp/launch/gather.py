"""Jobs that are sent within a few seconds go to SLURM together, as arrays.

Every sender lays its request into a folder; one of them, whoever has the lock, sends all that lie there and answers. A
leader that dies leaves a batch without answers: the next one cancels it, and its members ask again.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlp.errors import VlpError
from vlp.files import atomic, read_json, to_json, write_json
from vlp.launch.scheduler import Slurm
from vlp.launch.states import ENDED
from vlp.launch.task import Task

WINDOW = 5.0
"""Seconds that a leader waits for others."""
TURN = 0.5

Send = Callable[[list[Task], dict[str, Any], Path, str], list[tuple[str, str]]]
"""Tasks, submitit's parameters, its folder, a comment -> id and folder of each job."""


@dataclass(frozen=True)
class Request:
    parameters: dict[str, Any]
    task: Task

    @property
    def kind(self) -> str:
        """Only requests of equal resources share an array."""
        return hashlib.sha256(to_json(self.parameters, sort_keys=True, default=str).encode()).hexdigest()


def submit(folder: Path, token: str, request: Request, slurm: Slurm, send: Send) -> tuple[str, str]:
    """Id and folder of the job.

    Raises:
        VlpError: SLURM did not take the array.
    """
    import cloudpickle

    folder.mkdir(parents=True, exist_ok=True)
    own, answer = folder / f"{token}.request", folder / f"{token}.json"
    with (folder / ".lock").open("a") as lock:
        while not answer.exists():
            if not own.exists() and not any(folder.glob(f"batch-*/{token}.request")) and not answer.exists():
                with atomic(own) as temporary:
                    temporary.write_bytes(cloudpickle.dumps(request))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(TURN)
                continue
            try:
                if not answer.exists():
                    _lead(folder, slurm, send)
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)
    found = read_json(answer)
    if "problem" in found:
        raise VlpError(found["problem"])
    return found["job"], found["folder"]


def withdraw(folder: Path, token: str) -> str | None:
    """Take back a request. Returns the job's id if it has been sent."""
    (folder / f"{token}.request").unlink(missing_ok=True)
    end = time.monotonic() + 2 * WINDOW
    answer = folder / f"{token}.json"
    while not answer.exists() and any(folder.glob(f"batch-*/{token}.request")) and time.monotonic() < end:
        time.sleep(TURN)
    return read_json(answer).get("job") if answer.exists() else None


def _lead(folder: Path, slurm: Slurm, send: Send) -> None:
    import cloudpickle

    for batch in folder.glob("batch-*"):
        if not (batch / "answered").exists():
            _undo(batch, slurm)
    time.sleep(WINDOW)
    groups: dict[str, list[tuple[Path, Request]]] = {}
    for path in sorted(folder.glob("*.request")):
        try:
            request = cloudpickle.loads(path.read_bytes())
        except FileNotFoundError:  # taken back
            continue
        groups.setdefault(request.kind, []).append((path, request))
    for members in groups.values():
        batch = folder / f"batch-{uuid.uuid4().hex[:8]}"
        batch.mkdir()
        tokens, tasks = [], []
        for path, request in members:
            if path.exists():
                path.rename(batch / path.name)
                tokens.append(path.stem)
                tasks.append(request.task)
        if not tasks:
            continue
        try:
            sent = send(tasks, members[0][1].parameters, batch / "%j", batch.name)
            answers = [{"job": job, "folder": place} for job, place in sent]
        except Exception as error:
            answers = [{"problem": str(error)}] * len(tasks)
        for token, answer in zip(tokens, answers, strict=True):
            write_json(folder / f"{token}.json", answer)
        (batch / "answered").touch()


def _undo(batch: Path, slurm: Slurm) -> None:
    job = slurm.find(batch.name)
    while job is not None and slurm.look(job).state not in ENDED:
        slurm.cancel(job)
        time.sleep(2.0)
    shutil.rmtree(batch)
