"""Jobs on SLURM: sent alone or in arrays, found again by a later process."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from vlp.launch import gather, record, refusals, snapshot
from vlp.launch.record import Record
from vlp.launch.scheduler import Look, Slurm
from vlp.launch.states import State
from vlp.launch.task import Task
from vlp.launch.waiting import ASK_SECONDS, TELL_SECONDS, Waiting, imports, parameters

_OVER = frozenset(State) - {State.WAITING, State.RUNNING, State.UNKNOWN}


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


class OnSlurm(Waiting):
    def __init__(self, *arguments: Any, slurm: Slurm | None = None, alone: bool = False) -> None:
        super().__init__(*arguments, alone=alone)
        self.slurm = slurm or Slurm()

    def send(self, last: Record) -> Record:
        task = self.task(last, None, snapshot.environment())
        setup = [f"export {name}={value!r}" for name, value in imports(task.code).items()]
        array, own = self.resources.array, parameters(self.resources) | {"slurm_setup": setup}
        if array is None:
            place, own = self.folder / "jobs" / last.token / "%j", own | {"name": self.name}
            send = partial(send_together, [task], own, place, last.token)
            [(job, folder)] = refusals.until_taken(self.name, send, lambda: self._undo(last))
        else:
            request = gather.Request(own | {"name": array.parent.name}, task)
            job, folder = gather.submit(array, last.token, request, self.slurm, send_together)
        return record.write(self.folder, last, status="sent", job=job, folder=folder)

    def _undo(self, last: Record) -> None:
        """A job that SLURM has taken although it said that it has not: its files are not all there."""
        job = self.slurm.find(last.token)
        if job is not None:
            self._clear(last, job)

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
