"""A rank that hangs is named, its stacks are written, and the job ends: else the others wait for it for ever."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vlp.files import write_json

EXIT_CODE = 70
"""EX_SOFTWARE."""
MOST_SECONDS = 15.0
"""Between two looks."""


class Watchdog:
    """A thread of each rank. The loop tells by `at` where it is, which costs an assignment.

    Each rank's thread writes its rank's place to `folder`. When a rank has not moved for `seconds`, its thread writes
    the stacks of all its threads there, tells which ranks are behind the others, kills those that are on this host (a
    stopped process would not end otherwise), and ends its own process.

    Args:
        leave: ends the process; a test's may raise instead.
    """

    def __init__(self, folder: Path, rank: int, world: int, seconds: float, leave: Callable[[int], None] = os._exit):
        self.folder, self.rank, self.world, self.seconds = folder, rank, world, seconds
        self._place, self._moved, self._paused = (0, "the start"), time.monotonic(), False
        self._count, self._leave, self._end = 0, leave, threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._end.set()
        self._thread.join()

    def at(self, step: int, what: str) -> None:
        self._count += 1
        self._place, self._moved = (step, what), time.monotonic()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """For what may take long: evaluation, reading a checkpoint."""
        self._paused = True
        try:
            yield
        finally:
            self._moved, self._paused = time.monotonic(), False

    def _watch(self) -> None:
        while not self._end.wait(min(MOST_SECONDS, self.seconds / 4)):
            step, what = self._place
            own = {"count": self._count, "step": step, "what": what, "pid": os.getpid(), "host": socket.gethostname()}
            write_json(self._file(self.rank), own | {"paused": self._paused})
            if not self._paused and time.monotonic() - self._moved > self.seconds:
                self._give_up()
                return

    def _give_up(self) -> None:
        path = self.folder / f"stacks-{self.rank}.txt"
        with path.open("w") as f:
            faulthandler.dump_traceback(f, all_threads=True)
        places = {r: json.loads(self._file(r).read_text()) for r in range(self.world) if self._file(r).exists()}
        least = min(p["count"] for p in places.values())
        late = {r: p for r, p in places.items() if p["count"] == least}
        where = ", ".join(f"rank {r} on {p['host']} at step {p['step']}: {p['what']}" for r, p in late.items())
        who = f"behind the others is {where}" if len(late) < self.world else f"all ranks stand: {where}"
        sys.stderr.write(
            f"rank {self.rank}: no progress for {self.seconds:.0f} s; {who}. The stacks of each rank are in "
            f"{self.folder}; this training ends, and the next run goes on from the newest checkpoint.\n"
        )
        sys.stderr.flush()
        if self.rank in late and len(late) < self.world:
            time.sleep(self.seconds)  # the others tell and end it; if it left first, they would fail for the want of it
        elif self.rank not in late:
            time.sleep(min(MOST_SECONDS, self.seconds / 2))  # the late ones write their own stacks, if they can
            for place in late.values():
                if place["host"] == socket.gethostname():
                    _kill(place["pid"])
        self._leave(EXIT_CODE)

    def _file(self, rank: int) -> Path:
        return self.folder / f"rank-{rank}.json"


def _kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return
