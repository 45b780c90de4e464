"""One writer of a results folder at a time: a workflow, or commands by hand, of which each rule has one.

Locks are flocks, so they go with their process however that one ends; a network file system makes them hold between
hosts. `.lock`: a workflow has it alone, commands by hand share it. `.work`: what a workflow has started shares it, so
that the next workflow waits for what a killed one has left at work.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from vlp.errors import InputError
from vlp.launch import driver

LOCK, WORK, RULES = ".lock", ".work", ".rules"
TURN = 2.0
"""Seconds that a lock may be busy: a dry run has it for a moment."""
PATIENCE = 120.0
"""Seconds that what a killed workflow has left may take to save and end."""
_told: set[str] = set()


class Claim:
    """A workflow's claim to the folder of an experiment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: TextIO | None = None

    @contextlib.contextmanager
    def briefly(self) -> Iterator[bool]:
        """True: nobody else writes into the folder now."""
        with _opened(self.folder, LOCK) as file:
            yield _flock(file, fcntl.LOCK_EX)

    def insist(self) -> None:
        """Have the folder until this process ends.

        Raises:
            InputError: another workflow or command is at work in it, or does not end.
        """
        self._held = hold(self.folder / LOCK)
        with _opened(self.folder, WORK) as left:
            if _within(TURN, lambda: _flock(left, fcntl.LOCK_EX)):
                return
            print(f"{self.folder}: waiting until the commands of an earlier run end", file=sys.stderr, flush=True)
            if not _within(PATIENCE, lambda: _flock(left, fcntl.LOCK_EX)):
                raise InputError(self.folder, "commands of an earlier run are still at work in it.", _REMEDY)


_REMEDY = "Wait for it, or end it first."
_starting: list[tuple[Claim, Callable[[], None]]] = []


def at_start(claim: Claim, act: Callable[[], None]) -> None:
    """What `begin` does, of one experiment of a workflow: its claim, then `act`."""
    _starting.append((claim, act))


def begin() -> None:
    """A workflow starts its work. Raises InputError: as `Claim.insist`."""
    for claim, act in _starting:
        claim.insist()
        act()


@contextlib.contextmanager
def writing(folder: Path, rule: str) -> Iterator[None]:
    """While a command writes what a rule makes.

    Raises:
        InputError: a workflow that has not started this command is at work in the folder, the rule is at work already,
            or the workflow of this command is gone.
    """
    with contextlib.ExitStack() as locks:
        if driver.started_by is not None:
            _flock(locks.enter_context(_opened(folder, WORK)), fcntl.LOCK_SH)
            if not driver.alive(driver.started_by):
                raise InputError(folder, "the workflow that has started this command is gone.", "Start it again.")
        else:
            file = locks.enter_context(_opened(folder, LOCK))
            if not _within(TURN, lambda: _flock(file, fcntl.LOCK_SH)):
                raise InputError(folder, f"a workflow is at work in it{_holder(file)}.", _REMEDY)
            with _opened(folder, WORK) as left:
                if not _within(PATIENCE, lambda: _flock(left, fcntl.LOCK_EX)):
                    raise InputError(folder, "commands of an earlier run are still at work in it.", _REMEDY)
        own = locks.enter_context(_opened(folder / RULES, rule))
        if not _within(TURN, lambda: _flock(own, fcntl.LOCK_EX)):
            raise InputError(folder, f"another process makes {rule} at the moment.", _REMEDY)
        yield


def hold(path: Path) -> TextIO:
    """An open file that is locked, to be handed on to a child that shall have the lock too.

    Raises:
        InputError: another process has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _open(path)
    if not _within(TURN, lambda: _flock(file, fcntl.LOCK_EX)):
        raise InputError(path.parent, f"another run is at work in it{_holder(file)}.", _REMEDY)
    file.truncate(0)
    print(f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%F %T')}", file=file, flush=True)
    return file


def _open(path: Path) -> TextIO:
    return path.open("a+", encoding="utf-8")  # for writing: else a network file system refuses LOCK_EX


@contextlib.contextmanager
def _opened(folder: Path, name: str) -> Iterator[TextIO | None]:
    """None: the file cannot be written; whoever wants to write beside it will say more."""
    with contextlib.ExitStack() as files:
        file = None
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            file = files.enter_context(_open(folder / name))
        yield file


def _flock(file: TextIO | None, kind: int) -> bool:
    """False: another process has it. A file system without locks cannot say so: it is told once."""
    if file is None:
        return True
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if file.name not in _told:
            print(f"vlp: {file.name}: no locks here ({error.strerror}); start one run at a time", file=sys.stderr)
        _told.add(file.name)
    return True


def _within(seconds: float, done: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def _holder(file: TextIO | None) -> str:
    if file is None:
        return ""
    file.seek(0)
    said = file.read().strip()
    return f" ({said})" if said else ""
