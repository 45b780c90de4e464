"""The jobs of an experiment as they are now, from their records, their logs and the scheduler."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vlp.errors import InputError
from vlp.launch import record
from vlp.launch.driver import alive
from vlp.launch.record import Record
from vlp.launch.scheduler import Look, Slurm
from vlp.launch.states import ENDED, State

PROGRESS = re.compile(r"^step (\d+)/(\d+) .*?(\d+) samples/s .*  (.+) left$", re.MULTILINE)
"""Of the lines that `training.meter.line` makes."""
TAIL_BYTES = 20_000


@dataclass(frozen=True)
class Job:
    """A run directory's last job."""

    rule: str
    folder: Path
    last: Record

    @property
    def log(self) -> Path | None:
        """Standard output of rank 0."""
        return Path(self.last.paths().stdout) if self.last.job else None

    @property
    def errors(self) -> Path | None:
        return Path(self.last.paths().stderr) if self.last.job else None

    def look(self, slurm: Slurm) -> Look:
        """What the scheduler says, or, of a job that has ended, its record."""
        if self.last.status not in ("sending", "sent"):
            return Look(State.GONE, self.last.status)
        if self.last.executor == "slurm" and self.last.job is not None:
            return slurm.look(self.last.job)
        there = self.last.process and alive(self.last.process)
        return Look(State.RUNNING, "RUNNING", self.last.host) if there else Look(State.GONE, "its driver is gone")

    def progress(self) -> tuple[int, int, int, str] | None:
        """Step, of how many, samples/s, time left: the last that the log tells."""
        if self.log is None or not self.log.exists():
            return None
        found = PROGRESS.findall(tail(self.log))
        if not found:
            return None
        step, total, rate, left = found[-1]
        return int(step), int(total), int(rate), left

    def cancel(self, slurm: Slurm | None = None) -> bool:
        """scancel it if it is in the queue; whoever waits for it then ends. Returns whether it was."""
        slurm = slurm or Slurm()
        if self.last.executor != "slurm" or self.last.status != "sent" or self.last.job is None:
            return False
        if slurm.look(self.last.job).state in ENDED:
            return False
        slurm.cancel(self.last.job)
        return True


def jobs(folder: Path) -> Iterator[Job]:
    """Of every run directory of an experiment, by name; a sweep's folder gives those of all its parts."""
    for file in sorted([*folder.glob("runs/*/jobs/" + record.NAME), *folder.glob("*/runs/*/jobs/" + record.NAME)]):
        run_dir = file.parents[1]
        last = record.read(run_dir)
        assert last is not None
        rule = run_dir.relative_to(folder).as_posix().removeprefix("runs/").replace("/runs/", "/")
        yield Job(rule, run_dir, last)


def find(folder: Path, name: str) -> Job:
    """By rule, or by the scheduler's id. Raises InputError: there is none, or several."""
    found = [j for j in jobs(folder) if name in (j.rule, j.last.job, j.rule.rpartition("/")[2])]
    if len(found) != 1:
        known = ", ".join(f"{j.rule} ({j.last.job})" for j in jobs(folder)) or "none"
        raise InputError(
            folder, f"{len(found) or 'no'} jobs are called {name}.", f"Name one by its rule or id; there are {known}."
        )
    return found[0]


def tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return file.read().decode(errors="replace")
