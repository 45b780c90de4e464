"""A signal that asks the training to stop sets a flag; the loop saves at the end of the step and raises `Preempted`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any

STOPS = (signal.SIGUSR2, signal.SIGTERM)
"""SIGUSR2: SLURM (through submitit) before a time limit or a preemption. SIGTERM: whoever wants the process gone."""


class StopRequest:
    """`number` is the stop signal that arrived in the block, or 0.

    Handlers are installed in the main thread only, as Python demands, and the former ones put back. A signal that a
    former handler has noted already (`number`, as that of a job) counts: the training stops after its first step.
    """

    def __init__(self) -> None:
        self.number = 0
        self._former: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in STOPS:
                self._former[number] = former = signal.signal(number, self._note)
                self.number = self.number or getattr(former, "number", 0)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def flags(self) -> list[float]:
        """One number for each of `STOPS`: what ranks add up, so that all of them stop at the same step."""
        return [float(self.number == s) for s in STOPS]

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number


def first_of(flags: Sequence[float]) -> int:
    """The signal that some rank got, or 0, from the sum of all ranks' `flags`."""
    return next((int(s) for s, got in zip(STOPS, flags, strict=True) if got), 0)
