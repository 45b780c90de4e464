"""SLURM asked by its own commands: with accounting (`sacct`) or without, and never believed without an answer."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vlp.launch import states
from vlp.launch.states import State

TIMEOUT = 20.0
"""Seconds that a command may take to answer."""


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


Ask = Callable[[Sequence[str]], Answer | None]
"""Runs a command; None: it could not be run, or did not answer in time."""


@dataclass(frozen=True)
class Look:
    """What is known of a job now."""

    state: State
    word: str = ""
    """As SLURM says it."""
    nodes: str = ""
    detail: str = ""
    """Why it waits."""


def ask(command: Sequence[str]) -> Answer | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, errors="replace")
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Answer(done.returncode, done.stdout, done.stderr)


class Slurm:
    def __init__(self, ask: Ask = ask) -> None:
        self._ask = ask

    def look(self, job: str) -> Look:
        """The queue first; of a job that has left it, the accounting, where there is one."""
        said = self._ask(["squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T|%N|%r"])
        if said is None or (said.code and "Invalid job id" not in said.err):
            return Look(State.UNKNOWN, detail="squeue does not answer" if said is None else said.err.strip()[:200])
        lines = [] if said.code else said.out.splitlines()
        if not [line for line in lines if line.strip()]:
            return self._accounted(job)
        if len(lines) != 1 or lines[0].count("|") < 2:
            return Look(State.UNKNOWN, detail=f"squeue says {said.out[:80]!r}")
        word, nodes, reason = lines[0].split("|", 2)
        return Look(states.of(word), word, nodes, reason if reason != "None" else "")

    def _accounted(self, job: str) -> Look:
        said = self._ask(
            ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}", "--format=State,NodeList"]
        )
        for line in [] if said is None or said.code else said.out.splitlines():
            word, _, nodes = line.partition("|")
            state = states.of(word)
            # Accounting lags: of a job that has left the queue it may still say RUNNING.
            if state in states.ENDED:
                return Look(state, word, nodes)
        return Look(State.GONE)

    def find(self, comment: str) -> str | None:
        """The job in the queue that was sent with this comment; of an array the array's id.

        Raises:
            OSError: the queue can not be read, so nobody knows.
        """
        said = self._ask(["squeue", "--noheader", "--me", "--format=%F|%k"])
        if said is None or said.code:
            raise OSError(f"squeue: {'no answer' if said is None else said.err.strip()}")
        ids = [line.partition("|")[0] for line in said.out.splitlines() if line.partition("|")[2].strip() == comment]
        return ids[0] if ids else None

    def largest_array(self) -> int | None:
        """So many members an array may have; None: SLURM does not say."""
        said = self._ask(["scontrol", "show", "config"])
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", said.out, re.MULTILINE) if said and not said.code else None
        return max(1, int(found[1])) if found else None

    def cancel(self, job: str) -> None:
        self._ask(["scancel", job])

    def requeue(self, job: str) -> bool:
        said = self._ask(["scontrol", "requeue", job])
        return said is not None and said.code == 0
