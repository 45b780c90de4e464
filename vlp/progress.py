"""Progress of long work: a bar on a terminal, a plain line now and then elsewhere; always with rate and time left."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 10.0


def shown(rate: float) -> str:
    """One decimal; of a slow work two digits: 0.012."""
    return f"{rate:.1f}" if rate >= 1 or rate == 0 else f"{rate:.2g}"


class Meter:
    """`with Meter("extract", total, "images") as meter: meter.advance(8)`; writes to standard error."""

    def __init__(self, title: str, total: int, unit: str) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done, self._note = 0, ""
        self._began = self._told = time.monotonic()
        console = Console(stderr=True)
        self._bar: Progress | None = None
        if console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]} " + unit + "/s"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._bar = Progress(*columns, console=console)
            self._task = self._bar.add_task(title, total=total, rate=shown(0.0), note="")

    def __enter__(self) -> Meter:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif kind is None:
            self._line()

    @property
    def rate(self) -> float:
        """Units per second so far."""
        return self.done / max(time.monotonic() - self._began, 1e-9)

    def advance(self, count: int, note: str = "") -> None:
        self.done += count
        self._note = note
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, rate=shown(self.rate), note=note)
        elif time.monotonic() - self._told >= _SECONDS_BETWEEN_LINES:
            self._told = time.monotonic()
            self._line()

    def _line(self) -> None:
        left = max(self.total - self.done, 0) / max(self.rate, 1e-9) if self.done else float("nan")
        text = (
            f"{self.title}: {self.done}/{self.total} {self.unit}, {shown(self.rate)} {self.unit}/s, {left:.0f} s left"
        )
        print(f"{text} {self._note}".rstrip(), file=sys.stderr, flush=True)
