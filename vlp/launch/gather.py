"""Jobs that are sent within a few seconds go to SLURM together, as arrays no larger than it takes.

Every sender lays its request into a folder; one of them, whoever has the lock, sends all that lie there and answers. A
leader that dies leaves a batch without answers: the next one cancels it, and its members ask again. So they do when
SLURM takes no more for now.
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
from vlp.launch.refusals import PAUSE, Refusal, Taken, kind, line
from vlp.launch.scheduler import Slurm
from vlp.launch.states import ENDED
from vlp.launch.task import Task

REFUSED = ".refused"
LARGEST = 1000
"""Members of an array, where SLURM does not say; its own default."""
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
        VlpError: SLURM did not take the array, or not for longer than `refusals.PATIENCE`.
    """
    import cloudpickle

    taken = Taken(folder.parent.name)
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
            said = None
            try:
                if not answer.exists():
                    said = _refused_lately(folder)
                    if said is None and (said := _lead(folder, slurm, send)) is not None:
                        (folder / REFUSED).write_text(said, encoding="utf-8")
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)
            if said is not None and not answer.exists():
                try:
                    taken.refused(said)
                except VlpError:
                    own.unlink(missing_ok=True)
                    raise
                time.sleep(PAUSE)
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


def _refused_lately(folder: Path) -> str | None:
    """What SLURM said less than `PAUSE` ago: each of many members would ask it again at once."""
    note = folder / REFUSED
    if not note.exists() or time.time() - note.stat().st_mtime > PAUSE:
        return None
    return note.read_text(encoding="utf-8")


def _lead(folder: Path, slurm: Slurm, send: Send) -> str | None:
    """Returns why SLURM takes no more for now; None: it took all."""
    import cloudpickle

    for batch in folder.glob("batch-*"):
        if not (batch / "answered").exists():
            try:
                _undo(batch, slurm)
            except OSError as error:  # what is in the queue is not known, so nothing may be sent again
                return f"unable to contact slurm controller ({error})"
    time.sleep(WINDOW)
    groups: dict[str, list[tuple[Path, Request]]] = {}
    for path in sorted(folder.glob("*.request")):
        try:
            request = cloudpickle.loads(path.read_bytes())
        except FileNotFoundError:  # taken back
            continue
        groups.setdefault(request.kind, []).append((path, request))
    largest = slurm.largest_array() if any(len(members) > 1 for members in groups.values()) else 1
    said = [_send_all(folder, members, largest or LARGEST, send) for members in groups.values()]
    return next(filter(None, said), None)


def _send_all(folder: Path, members: list[tuple[Path, Request]], largest: int, send: Send) -> str | None:
    """Requests of equal resources in arrays of at most `largest`, and of fewer where SLURM takes only so many.

    Returns:
        Why it takes no more for now; then the last batch has no answer. None: all have one.
    """
    left = members
    while left:
        part, rest = left[:largest], left[largest:]
        batch = folder / f"batch-{uuid.uuid4().hex[:8]}"
        batch.mkdir()
        tokens, tasks = [], []
        for path, request in part:
            if path.exists():
                path.rename(batch / path.name)
                tokens.append(path.stem)
                tasks.append(request.task)
        try:
            sent = send(tasks, members[0][1].parameters, batch / "%j", batch.name) if tasks else []
        except Exception as error:
            refusal = kind(str(error))
            if refusal is Refusal.AWAY or (refusal is Refusal.FULL and len(tasks) == 1):
                return str(error)
            if refusal in (Refusal.FULL, Refusal.ARRAY) and len(tasks) > 1:
                # Nothing of it is in the queue: its members ask for less at once.
                largest = (len(tasks) + 1) // 2
                for token in tokens:
                    (batch / f"{token}.request").rename(folder / f"{token}.request")
                shutil.rmtree(batch)
                continue
            answers = [{"problem": line(str(error))}] * len(tasks)
        else:
            answers = [{"job": job, "folder": place} for job, place in sent]
        for token, answer in zip(tokens, answers, strict=True):
            write_json(folder / f"{token}.json", answer)
        (batch / "answered").touch()
        left = rest
    return None


def _undo(batch: Path, slurm: Slurm) -> None:
    job = slurm.find(batch.name)
    while job is not None and slurm.look(job).state not in ENDED:
        slurm.cancel(job)
        time.sleep(2.0)
    shutil.rmtree(batch)
