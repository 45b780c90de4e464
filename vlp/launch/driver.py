"""A process that ends with the one that started it, however that one was killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

VARIABLE = "VLP_DRIVER"
INTERVAL = 0.5

started_by: int | None = None
"""The process of the workflow that has started this one."""
orphaned = threading.Event()
"""Set before this process gets SIGTERM because its driver is gone: what it has sent elsewhere may go on."""


def alive(process: int) -> bool:
    """Whether a process of this host is there (a zombie is not)."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _zombie(process)


def when_gone(process: int, act: Callable[[], None]) -> None:
    """Call `act` in a daemon thread once `process` is gone."""

    def watch() -> None:
        while alive(process):
            time.sleep(INTERVAL)
        act()

    threading.Thread(target=watch, daemon=True).start()


def end_with_driver() -> None:
    """Under a workflow (`VLP_DRIVER` is its process) this process gets SIGTERM when the workflow is gone.

    The variable is taken out of the environment: jobs on other hosts inherit that, where the number means nothing.
    """
    global started_by
    driver = os.environ.pop(VARIABLE, None)

    def end() -> None:
        orphaned.set()
        os.kill(os.getpid(), signal.SIGTERM)

    if driver is not None:
        started_by = int(driver)
        when_gone(started_by, end)


def _zombie(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False
