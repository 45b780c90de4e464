"""What a test may do only if it is marked `slow`: start a process, or import DeepSpeed.

An audit hook hears of both wherever they happen: in a fixture, in a library, in a thread. So the marker cannot be
forgotten, and `make test-fast` stays fast.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

MARKS = ("slow", "slurm", "long")
SMALL = {"git", "nvidia-smi", "uname", "ldconfig", "lscpu", "java", "sha256sum", "sinfo"}
"""Programs of milliseconds, by which the package and its libraries learn of code and machine."""
_STARTS = {"os.fork", "os.forkpty", "os.system", "os.exec"}
_watched: pytest.Item | None = None
_heard: list[str] = []


def install() -> None:
    """Once in a process: an audit hook cannot be taken out."""
    sys.addaudithook(_hear)
    start = BaseProcess.start

    def guarded(self: BaseProcess) -> None:  # a spawned process makes no audit event
        _refuse("starts a process")
        start(self)

    BaseProcess.start = guarded  # type: ignore[method-assign]


@contextmanager
def watched(item: pytest.Item) -> Iterator[None]:
    """While the test and its fixtures run."""
    global _watched
    _watched = None if any(item.get_closest_marker(mark) for mark in MARKS) else item
    _heard.clear()
    try:
        yield
    finally:
        _watched = None


def tell() -> None:
    """Raises pytest.fail.Exception: the test was refused something, perhaps in a thread, where nobody saw it."""
    if _heard:
        pytest.fail(_heard.pop(), pytrace=False)


def forget() -> None:
    """What was refused was meant to be."""
    _heard.clear()


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched is None:
        return
    if event == "import" and str(arguments[0]).split(".")[0] == "deepspeed":
        _refuse("imports DeepSpeed")
    elif event in _STARTS:
        _refuse("starts a process")
    elif event in ("subprocess.Popen", "os.posix_spawn") and _program(arguments) not in SMALL:
        _refuse(f"starts {_program(arguments)}")


def _refuse(what: str) -> None:
    if _watched is not None:
        _heard.append(f"{_watched.nodeid} {what}: mark it slow (pytest.mark.slow)")
        pytest.fail(_heard[-1], pytrace=False)


def _program(arguments: tuple[Any, ...]) -> str:
    executable, command = arguments[0], arguments[1]
    if executable is None:
        executable = command if isinstance(command, str | bytes) else command[0]
    return Path(executable.decode() if isinstance(executable, bytes) else str(executable)).name
