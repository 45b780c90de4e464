"""What `sbatch` says when it takes no job, and what follows: pure, so that every wording can be tried."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import TypeVar

from vlp.errors import VlpError

PAUSE = 30.0
"""Seconds until a job that was refused for now is sent again."""
PATIENCE = 24 * 3600.0
"""Seconds that a refusal may last."""
TELL = 600.0
T = TypeVar("T")


class Refusal(Enum):
    AWAY = auto()
    """The controller does not answer; it may have taken the job all the same."""
    FULL = auto()
    """So many jobs are in the queue, of this user or of all, that it takes no more for now."""
    ARRAY = auto()
    """The array has more members than it takes."""
    FINAL = auto()
    """It would say the same tomorrow."""


_SAID = {
    Refusal.ARRAY: r"invalid job array specification|array size|MaxArraySize",
    # Limits are named one by one, and then for all kinds together as an accounting/QOS policy.
    Refusal.FULL: r"submit\w*limit|limit on (the )?number of (submitted )?jobs|too many jobs|maxjobcount"
    r"|temporarily unable to accept|resource temporarily unavailable"
    r"|partition not available|partition is (down|inactive)|node not available \(down",
    Refusal.AWAY: r"unable to contact|connection (refused|timed out|reset)|communication connection failure|timed out"
    r"|not responding|zero bytes|transport endpoint|standby mode|unable to establish|unable to resolve|no route to host"
    r"|network is unreachable|authentication error|munge|try again",
}
_LIMIT = re.compile(r"\b(?:Assoc|QOS|Max|Grp)\w*Limit\b")
_POLICY = re.compile(r"job violates accounting/qos policy", re.IGNORECASE)


def kind(said: str) -> Refusal:
    """Of what `sbatch` wrote."""
    for refusal, pattern in _SAID.items():
        if re.search(pattern, said, re.IGNORECASE):
            return refusal
    # Older versions do not name the limit, which may be that of a job's size and time and never pass. It is waited for.
    return Refusal.FULL if _POLICY.search(said) and not _LIMIT.search(said) else Refusal.FINAL


def line(said: str) -> str:
    """What matters of it, in one line."""
    lines = [text.strip() for text in said.splitlines() if text.strip()]
    errors = [text.partition("error:")[2].strip() for text in lines if "error:" in text]
    return "; ".join(dict.fromkeys(errors or lines[-1:]))[:400]


class Taken:
    """One wait for SLURM to take something."""

    def __init__(self, who: str) -> None:
        self._who = who
        self._since = self._told = float("-inf")

    def refused(self, said: str) -> None:
        """Say so now and then. Raises VlpError: it has lasted too long, or does not pass."""
        now, short = time.monotonic(), line(said)
        if kind(said) in (Refusal.FINAL, Refusal.ARRAY):
            raise VlpError(f"{short}. Mend `launch` in the config.")
        if self._since == float("-inf"):
            self._since = now
        if now - self._since > PATIENCE:
            raise VlpError(f"{short}. That has lasted for {PATIENCE / 3600:.0f} hours.")
        if now - self._told > TELL:
            print(f"{self._who}: SLURM takes it not yet ({short}); it is sent again every {PAUSE:.0f} s", flush=True)
            self._told = now


def until_taken(who: str, send: Callable[[], T], undo: Callable[[], None]) -> T:
    """What `send` returns once SLURM takes the job.

    Args:
        undo: makes sure that what was refused is not in the queue all the same. Raises OSError: nobody knows.

    Raises:
        VlpError: it is refused for good, or for longer than `PATIENCE`.
    """
    taken = Taken(who)
    while True:
        try:
            return send()
        except Exception as error:
            taken.refused(str(error))
        time.sleep(PAUSE)
        while True:
            try:
                undo()
                break
            except OSError as error:
                taken.refused(f"unable to contact slurm controller ({error})")
                time.sleep(PAUSE)
