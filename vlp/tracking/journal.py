"""The journal: one JSON object per line, the truth about a run. MLflow only mirrors it."""

from __future__ import annotations

import fcntl
import json
import math
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from vlp.files import to_json

Event = dict[str, Any]


class Journal:
    """Append events to a journal; every line is flushed, so a killed process loses at most the line it was writing."""

    def __init__(self, path: str | Path, *, resume: bool = False) -> None:
        self.path = Path(path)
        self._told, self._lock = False, threading.Lock()
        self._file: TextIO | None = None
        self._guarded(lambda: self._open(resume))

    def _open(self, resume: bool) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if resume:
            _cut_torn_line(self.path)
        else:
            aside(self.path).unlink(missing_ok=True)
        self._file = self.path.open("a" if resume else "w", encoding="utf-8")

    def write(self, event: str, **fields: Any) -> None:
        """Add one event; `time` (seconds since the epoch) is now unless given.

        `clock` counts the machine's seconds: nobody sets it back, so durations are taken of it.
        """
        self.write_all([{"event": event, **fields}])

    def write_all(self, events: Iterable[Event]) -> None:
        now = {"time": time.time(), "clock": time.monotonic()}
        lines = [to_json({**now, **_finite(event)}, ensure_ascii=False) + "\n" for event in events]
        with self._lock:
            self._guarded(lambda: self._write("".join(lines)))

    def _write(self, text: str) -> None:
        if self._file is not None:
            self._file.write(text)
            self._file.flush()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """The values of one step, in one write."""
        self.write_all({"event": "metric", "key": k, "value": float(v), "step": step} for k, v in values.items())

    def close(self) -> None:
        if self._file is not None:
            self._guarded(self._file.close)

    def _guarded(self, action: Callable[[], object]) -> None:
        """Recording never stops the work: a journal that cannot be written (a full disk) is told once."""
        try:
            action()
        except OSError as error:
            if not self._told:
                print(f"vlp: {self.path}: not recorded: {error}", file=sys.stderr)
            self._told = True


def read(path: str | Path, *kinds: str) -> list[Event]:
    """All events of a journal. A last line that a kill cut short is left out; one that is damaged is set aside, into
    the file `aside(path)`, and told once: what else is recorded counts. So does a journal that cannot be read.

    Args:
        kinds: only events of these kinds; none: all. A training's journal is mostly metrics, which few readers want.

    Raises:
        FileNotFoundError: there is none.
    """
    path, events, damaged, at = Path(path), [], [], 0
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        raise
    except OSError as error:
        _tell(path, f"cannot be read ({error.strerror})")
        return []
    marks = [f'"event": "{kind}"'.encode() for kind in kinds]
    for row, line in enumerate(lines, start=1):
        if marks and not any(mark in line for mark in marks):
            at += len(line) + 1
            continue
        event = _event(line) if line.strip() else None
        if event is not None:
            events.append(event)
        elif line.strip() and row < len(lines):  # no newline after the last: the writer was killed within it
            damaged.append((row, at, line))
        at += len(line) + 1
    if damaged:
        _set_aside(path, damaged)
    return events


def aside(path: Path) -> Path:
    """Where the damaged lines of a journal are."""
    return path.with_name(f"{path.name}.damaged")


def _event(line: bytes) -> Event | None:
    """None: it is no event, or lacks what is read of one."""
    try:
        event = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not _is_number(event.get("time")) or not isinstance(event.get("event"), str):
        return None
    wanted = _FIELDS.get(event["event"], {})
    return event if all(name in event and fits(event[name]) for name, fits in wanted.items()) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_value(value: object) -> bool:
    return _is_number(value) or value in ("NaN", "Infinity", "-Infinity")


def _is_step(value: object) -> bool:
    return value is None or isinstance(value, int)


def _is_mapping(value: object) -> bool:
    return isinstance(value, dict)


def _is_digest(value: object) -> bool:
    return value is None or isinstance(value, str)


_FILE = {"path": _is_text, "sha256": _is_digest, "size": _is_step}
_FIELDS: dict[str, dict[str, Callable[[object], bool]]] = {
    "run_start": {
        **dict.fromkeys(("run", "rule", "config_sha256", "code_version", "host"), _is_text),
        **dict.fromkeys(("tags", "params"), _is_mapping),
        "pid": _is_number,
    },
    "run_end": {"status": _is_text, "peak_memory_bytes": _is_number},
    "metric": {"key": _is_text, "value": _is_value, "step": _is_step},
    "input": {"name": _is_text, **_FILE},
    "output": {"name": _is_text, **_FILE},
    "artifact": _FILE,
    "training": {"path": _is_text},
    "checkpoint": {"path": _is_text, "sha256": _is_text, "step": _is_step},
    "journals": {"seen": _is_mapping},
    "job": {"job": _is_text, "executor": _is_text, "tries": _is_number},
    "alignment": {"images": _is_number, "levels": _is_mapping},
}
"""Event -> what everybody who reads it takes for granted."""
_told: set[Path] = set()


def _set_aside(path: Path, lines: Sequence[tuple[int, int, bytes]]) -> None:
    """Move lines into the file beside: blanks stand in their place, so that a writer at work is not disturbed.

    Args:
        lines: number of the line, its place in bytes, its text.
    """
    rows = ", ".join(str(row) for row, *_ in lines[:5]) + (f" and {len(lines) - 5} more" if len(lines) > 5 else "")
    try:
        with aside(path).open("ab") as kept, path.open("r+b") as journal:
            fcntl.flock(kept, fcntl.LOCK_EX)
            for _, at, line in lines:
                journal.seek(at)
                if journal.read(len(line)) == line:  # else another process was faster
                    kept.write(line + b"\n")
                    kept.flush()
                    journal.seek(at)
                    journal.write(b" " * len(line))
        print(f"vlp: {path}: line {rows} damaged, moved to {aside(path).name}; the rest is used", file=sys.stderr)
    except OSError as error:
        _tell(path, f"line {rows} damaged, left out ({error.strerror}); the rest is used")


def _tell(path: Path, what: str) -> None:
    """Once in a process."""
    if path not in _told:
        print(f"vlp: {path}: {what}", file=sys.stderr)
    _told.add(path)


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


def start(events: Iterable[Event]) -> Event | None:
    """How the last attempt began; None: the journal does not say, or its line was damaged."""
    return next((part[0] for part in reversed(attempts(events))), None)


def wall_seconds(events: Iterable[Event]) -> float:
    """Seconds spent in all attempts; an attempt that was killed counts up to its last event."""
    return sum(map(_seconds, attempts(events)))


def _seconds(attempt: list[Event]) -> float:
    """Of an earlier version's journal, which has no `clock`, by the time of day, which may have been set back."""
    clocks = [event["clock"] for event in attempt if _is_number(event.get("clock"))]
    if clocks:
        return max(0.0, clocks[-1] - clocks[0])
    return max(0.0, attempt[-1]["time"] - attempt[0]["time"])


def seen(folder: Path) -> dict[str, dict[str, Any]]:
    """Name of each journal in an experiment's folder -> its run, and how long it is now: what a report is made of."""
    found = {}
    for path in sorted((folder / "journals").glob("*.jsonl")):
        began = start(read(path))
        found[path.stem] = {"run": began["run"] if began else None, "bytes": path.stat().st_size}
    return found


def _finite(value: Any) -> Any:
    """The same with numbers that are not finite as text: recording stops no work."""
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value


def _cut_torn_line(path: Path) -> None:
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with path.open("r+b") as f:
            f.truncate(whole)
