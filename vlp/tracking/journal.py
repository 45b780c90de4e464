"""The journal: one JSON object per line, the truth about a run. MLflow only mirrors it."""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vlp.errors import InputError

Event = dict[str, Any]


class Journal:
    """Append events to a journal; every line is flushed, so a killed process loses at most the line it was writing."""

    def __init__(self, path: str | Path, *, resume: bool = False) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if resume:
            _cut_torn_line(self.path)
        self._told, self._lock = False, threading.Lock()
        self._file = self.path.open("a" if resume else "w", encoding="utf-8")

    def write(self, event: str, **fields: Any) -> None:
        """Add one event; `time` (seconds since the epoch) is now unless given."""
        self.write_all([{"event": event, **fields}])

    def write_all(self, events: Iterable[Event]) -> None:
        now = time.time()
        lines = [json.dumps({"time": now, **_finite(event)}, ensure_ascii=False) + "\n" for event in events]
        with self._lock:
            self._guarded(lambda: self._file.write("".join(lines)))
            self._guarded(self._file.flush)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """The values of one step, in one write."""
        self.write_all({"event": "metric", "key": k, "value": float(v), "step": step} for k, v in values.items())

    def close(self) -> None:
        self._guarded(self._file.close)

    def _guarded(self, action: Callable[[], object]) -> None:
        """Recording never stops the work: a journal that cannot be written (a full disk) is told once."""
        try:
            action()
        except OSError as error:
            if not self._told:
                print(f"vlp: {self.path}: not recorded: {error}", file=sys.stderr)
            self._told = True


def read(path: str | Path) -> list[Event]:
    """All events of a journal; a last line that a kill cut short is left out.

    Raises:
        InputError: a line before the last is damaged.
    """
    return list(_events(Path(path)))


def _events(path: Path) -> Iterator[Event]:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    for row, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield json.loads(line)
        except json.JSONDecodeError as error:
            if row == len(lines):  # no newline after it: the writer was killed within this line
                return
            raise InputError(
                path, f"not a JSON line ({error}).", "Remove the line, or run the rule again.", row=row
            ) from error


def number(event: Event) -> float:
    """The value of a metric event; "NaN", "Infinity" stand as text, for JSON has no such numbers."""
    return float(event["value"])


def points(events: Iterable[Event]) -> dict[tuple[str, int | None], Event]:
    """(key, step) -> its metric event. A point that was logged twice, because a killed training went back to its
    checkpoint, counts once, with its last value."""
    return {(e["key"], e.get("step")): e for e in events if e["event"] == "metric"}


def attempts(events: Iterable[Event]) -> list[list[Event]]:
    """The events of each attempt: a resumed run has several, all with the same run key."""
    parts: list[list[Event]] = []
    for event in events:
        if event["event"] == "run_start":
            parts.append([])
        if parts:
            parts[-1].append(event)
    return parts


def wall_seconds(events: Iterable[Event]) -> float:
    """Seconds spent in all attempts; an attempt that was killed counts up to its last event."""
    return sum(part[-1]["time"] - part[0]["time"] for part in attempts(events))


def _finite(event: Event) -> Event:
    value = event.get("value")
    if isinstance(value, float) and not math.isfinite(value):
        return {**event, "value": "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")}
    return event


def _cut_torn_line(path: Path) -> None:
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with path.open("r+b") as f:
            f.truncate(whole)
