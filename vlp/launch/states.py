"""What the states of a job mean, and what follows from them: pure, so that every order of answers can be tried."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal


class State(Enum):
    WAITING = auto()
    RUNNING = auto()
    COMPLETED = auto()
    FAILED = auto()
    CANCELLED = auto()
    TIMEOUT = auto()
    OUT_OF_MEMORY = auto()
    TAKEN_AWAY = auto()
    """By the cluster: preempted, or its node failed; nothing is wrong with the job."""
    GONE = auto()
    """The scheduler answers, and knows no such job."""
    UNKNOWN = auto()
    """No answer, or none that makes sense."""


SLURM = {
    State.WAITING: "PENDING CONFIGURING REQUEUED REQUEUE_HOLD REQUEUE_FED RESV_DEL_HOLD SPECIAL_EXIT SUSPENDED STOPPED",
    State.RUNNING: "RUNNING COMPLETING STAGE_OUT SIGNALING RESIZING",
    State.COMPLETED: "COMPLETED",
    State.FAILED: "FAILED DEADLINE LAUNCH_FAILED RECONFIG_FAIL",
    State.CANCELLED: "CANCELLED",
    State.TIMEOUT: "TIMEOUT",
    State.OUT_OF_MEMORY: "OUT_OF_MEMORY",
    State.TAKEN_AWAY: "PREEMPTED NODE_FAIL BOOT_FAIL REVOKED",
}
_BY_NAME = {name: state for state, names in SLURM.items() for name in names.split()}


def of(text: str) -> State:
    """SLURM's word for a state; it may say more after it (`CANCELLED by 0`, `CANCELLED+`)."""
    word = text.split()[0].rstrip("+") if text.split() else ""
    return _BY_NAME.get(word, State.UNKNOWN)


Result = Literal["success", "error"]


@dataclass(frozen=True)
class Verdict:
    """How a job ended."""

    outcome: Literal["success", "failed", "cancelled", "again"]
    """again: the cluster took it away; sent once more it goes on from its checkpoint."""
    reason: str


GRACE = 10.0
"""Seconds that a result file may come after the news that the job has ended: file systems that nodes share are slow."""
GRACE_COMPLETED = 60.0
"""The same where SLURM says that all went well."""

ENDED = {
    State.COMPLETED: Verdict("failed", "SLURM says COMPLETED, but the job left no result"),
    State.FAILED: Verdict("failed", "the job failed"),
    State.CANCELLED: Verdict("cancelled", "the job was cancelled"),
    State.TIMEOUT: Verdict("again", "the time limit was reached before the training had stopped"),
    State.OUT_OF_MEMORY: Verdict(
        "failed",
        "the job used more memory than it asked for; raise launch.*.memory_gb, or lower the samples of a step on one "
        "GPU (more accumulation, more ranks)",
    ),
    State.TAKEN_AWAY: Verdict("again", "the cluster took the job away (preempted, or its node failed)"),
    State.GONE: Verdict("failed", "the job is no longer in the queue and left no result: cancelled, or it failed"),
}


class Judge:
    """Watches one job. Only its own result files can make it a success; a state alone never does."""

    def __init__(self, grace: float = GRACE, grace_completed: float = GRACE_COMPLETED) -> None:
        self._grace, self._grace_completed = grace, grace_completed
        self._ended: State | None = None
        self._since = self._failed_since = 0.0
        self._failed = False

    def see(self, state: State, results: list[Result | None], now: float) -> Verdict | None:
        """One look at the job.

        Args:
            results: of each task, None where there is none yet.
            now: seconds, of a clock that only goes forward.

        Returns:
            None as long as the job is not known to have ended.
        """
        if all(r == "success" for r in results):
            return Verdict("success", "")
        ended = self._ended_as(state, now)
        if "error" in results and state is not State.WAITING:
            # Not at once: a start that failed with its node may just be starting again, and then removes its result.
            if not self._failed:
                self._failed, self._failed_since = True, now
            if now - self._failed_since >= self._grace or (all(results) and ended in _FAILURES):
                return Verdict("failed", f"{results.count('error')} of {len(results)} tasks failed")
        else:
            self._failed = False
        if ended is None:
            return None
        grace = self._grace_completed if ended is State.COMPLETED else self._grace
        return ENDED[ended] if now - self._since >= grace else None

    def _ended_as(self, state: State, now: float) -> State | None:
        if state is State.UNKNOWN:  # no news: a job that had ended still has
            return self._ended
        if state not in ENDED:
            self._ended = None
        elif self._ended is None:
            self._ended, self._since = state, now
        elif state is not State.GONE:
            self._ended = state  # accounting that came late says more
        return self._ended


_FAILURES = (State.FAILED, State.COMPLETED, State.GONE)
