"""What is finished of a long work, in a file that outlives a kill: one writer, whole records or none."""

from __future__ import annotations

import fcntl
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vlp.errors import InputError


class Finished(ABC):
    """`with ...:` holds the file; what is appended to it stays when the process is killed."""

    def __init__(self, path: Path, busy: str, lock: Callable[[Any, int], None] = fcntl.flock) -> None:
        """
        Args:
            busy: what to say where another process has it.
            lock: flock, or lockf, which processes forked from the holder do not keep.
        """
        self.path, self._busy, self._lock = path, busy, lock

    def __enter__(self) -> Self:
        """Raises InputError: another process is at work on it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0)
        try:
            self._lock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise InputError(self.path, self._busy, "Wait for it, or end it.") from error
        end = self._scan()
        self._file.truncate(end)
        self._file.seek(end)
        if not end:
            self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @abstractmethod
    def _scan(self) -> int:
        """Note the whole records -> where they end; 0: the file is of another work, or of none."""

    @abstractmethod
    def _begin(self) -> None:
        """Write what says of which work the file is."""

    def remove(self) -> None:
        """All is written elsewhere: the file is not needed any more."""
        self.path.unlink(missing_ok=True)

    def _write(self, record: bytes) -> int:
        """Append it -> its place. One that does not fit on the disk is taken back.

        Raises:
            OSError: the disk is full; what was finished before stays whole.
        """
        place = self._file.tell()
        rest = memoryview(record)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            self._file.truncate(place)
            self._file.seek(place)
            raise
        return place
