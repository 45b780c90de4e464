"""Captions of finished batches in a file that outlives a kill: only the batch at work is lost.

A line is the digest of what follows it, and a batch: its number, its captions, its images without one. A line that is
torn or damaged is passed over, and its batch is done again; a file of another work is begun anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlp import finished
from vlp.errors import InputError
from vlp.files import to_json

Row = dict[str, str]


def path_for(out: Path) -> Path:
    """Where the work on `out` keeps its finished batches."""
    return out.with_name(f".{out.name}.captioning")


class Finished(finished.Finished):
    """`with Finished(path, key) as done: done.add(...)`; one process at a time. The captions stay in the file."""

    def __init__(self, path: Path, key: str) -> None:
        """`key`: what the content depends on."""
        super().__init__(path, "another process is at work on it.")
        self._key = key
        self._places: dict[int, tuple[int, int]] = {}
        self.captions = 0

    def _begin(self) -> None:
        self._append({"key": self._key})

    def __contains__(self, number: int) -> bool:
        return number in self._places

    def add(self, number: int, captions: Sequence[Row], skipped: Sequence[Row]) -> None:
        """Append batch `number`. One with `skipped` images is kept, and done again by the next run.

        Raises:
            OSError: the disk is full; what was finished before stays whole.
        """
        place = self._append({"batch": number, "captions": list(captions), "skipped": list(skipped)})
        self._places[number] = place
        self.captions += len(captions)

    def get(self, number: int) -> list[Row]:
        """The captions of a finished batch."""
        start, size = self._places[number]
        record = _record(os.pread(self._file.fileno(), size, start))
        if record is None:
            raise InputError(self.path, "the file has changed while it was read.", "Run the same command again.")
        return record["captions"]

    def _append(self, record: dict[str, Any]) -> tuple[int, int]:
        """Write a line -> its place and length."""
        text = to_json(record, ensure_ascii=False).encode()
        line = hashlib.sha256(text).hexdigest().encode() + b" " + text + b"\n"
        return self._write(line), len(line)

    def _scan(self) -> int:
        end = 0
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines):
                record = _record(line)
                if number == 0 and (record is None or record.get("key") != self._key):
                    return 0
                if not line.endswith(b"\n"):
                    break
                if number and record is not None and not record["skipped"]:
                    self._places[record["batch"]] = end, len(line)
                    self.captions += len(record["captions"])
                end += len(line)
        return end


def _record(line: bytes) -> dict[str, Any] | None:
    """What a whole line says."""
    digest, _, text = line.rstrip(b"\n").partition(b" ")
    if hashlib.sha256(text).hexdigest().encode() != digest:
        return None
    return json.loads(text)
