"""Finished batches of an extraction in a file that outlives a kill: only the batch at work is lost.

A batch is one frame: lengths, a JSON header, the columns' bytes, a digest. A torn last frame is cut off when the file
is opened again; a file of other images, weights or settings is begun anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlp import finished
from vlp.errors import InputError
from vlp.files import to_json
from vlp.finite import demand
from vlp.regions.detectors.base import Found

_LENGTHS = struct.Struct("<4sIQ")  # mark, bytes of the header, bytes of the columns
_MARK = b"VLPB"
_DIGEST = 32
# features as the store keeps them: half the bytes
_TYPES = {"boxes": "<f4", "classes": "<i8", "scores": "<f4", "features": "<f2"}
_TYPES |= {"attributes": "<i8", "attribute_scores": "<f4"}
assert tuple(_TYPES) == Found._fields

Skips = Mapping[str, str]


def path_for(out: Path) -> Path:
    """Where the extraction into `out` keeps its finished batches."""
    return out.with_name(f".{out.name}.extracting")


class Finished(finished.Finished):
    """`with Finished(path, key, feature_size) as done: done.add(...)`; one process at a time."""

    def __init__(self, path: Path, key: str, feature_size: int) -> None:
        """`key`: what the content depends on; a file with another key is begun anew."""
        # lockf, not flock: decoding workers that outlive a kill for some seconds must not hold it
        super().__init__(path, "another extraction is at work on it.", fcntl.lockf)
        self._key, self._size = key, feature_size
        self._places: dict[str, tuple[int, int]] = {}
        self.skipped: dict[str, str] = {}
        """Image -> why it was left out."""
        self.notes: dict[str, Sequence[str]] = {}
        """Image -> what is to be said of its pixels."""

    def _begin(self) -> None:
        self._append({"key": self._key}, b"")

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._places

    def add(self, found: Mapping[str, Found], skipped: Skips, notes: Mapping[str, Sequence[str]] | None = None) -> None:
        """Append a batch: regions of its images, reasons for those that were left out, what is to be said of some.

        Raises:
            InputError: a feature is not a finite float16 number, or an image has no region.
            OSError: the disk is full; what was finished before stays whole.
        """
        parts, images = [], []
        for image_id, regions in found.items():
            if not len(regions.scores):
                remedy = "A detector gives each image at least one: the whole image, of class -1."
                raise InputError(self.path, "the detector gave no region.", remedy, row=image_id)
            data = b"".join(_bytes(name, getattr(regions, name), image_id, self.path) for name in _TYPES)
            images.append([image_id, len(regions.scores), len(data)])
            parts.append(data)
        said = {image_id: list(words) for image_id, words in (notes or {}).items()}
        start = self._append({"images": images, "skipped": dict(skipped), "notes": said}, b"".join(parts))
        self._note(images, skipped, start)
        self.notes.update(said)

    def get(self, image_id: str) -> Found:
        """The regions of a finished image."""
        at, count = self._places[image_id]
        columns = []
        for name, dtype in _TYPES.items():
            width = {"boxes": 4, "features": self._size}.get(name, 1)
            size = np.dtype(dtype).itemsize * width * count
            column = np.frombuffer(os.pread(self._file.fileno(), size, at), dtype)
            columns.append(column.reshape(count, width) if name in ("boxes", "features") else column)
            at += size
        return Found(*columns)

    def _append(self, header: dict[str, Any], data: bytes) -> int:
        """Write a frame -> where its columns stand."""
        text = to_json(header).encode()
        frame = _LENGTHS.pack(_MARK, len(text), len(data)) + text + data
        return self._write(frame + hashlib.sha256(frame).digest()) + _LENGTHS.size + len(text)

    def _note(self, images: Sequence[Sequence[Any]], skipped: Skips, start: int) -> None:
        for image_id, count, size in images:
            self._places[image_id] = start, count
            self.skipped.pop(image_id, None)  # an image that was mended
            start += size
        self.skipped.update(skipped)

    def _scan(self) -> int:
        """Read the whole frames of this key -> where they end."""
        end, size, first = 0, os.fstat(self._file.fileno()).st_size, True
        while (frame := self._frame(end, size)) is not None:
            header, start, after = frame
            if first and header.get("key") != self._key:
                return 0
            if not first:
                self._note(header["images"], header["skipped"], start)
                self.notes.update(header.get("notes", {}))
            first, end = False, after
        return end

    def _frame(self, at: int, size: int) -> tuple[dict[str, Any], int, int] | None:
        """The frame at `at` -> header, place of the columns, end; None: there is no whole one."""
        self._file.seek(at)
        lengths = self._file.read(_LENGTHS.size)
        if len(lengths) < _LENGTHS.size:
            return None
        mark, text, data = _LENGTHS.unpack(lengths)
        after = at + _LENGTHS.size + text + data + _DIGEST
        if mark != _MARK or after > size:
            return None
        body = self._file.read(text + data)
        if hashlib.sha256(lengths + body).digest() != self._file.read(_DIGEST):
            return None
        return json.loads(body[:text]), at + _LENGTHS.size + text, after


def _bytes(name: str, column: Any, image_id: str, path: Path) -> bytes:
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(column, _TYPES[name])
    if name in ("features", "boxes", "scores"):
        what = "features as float16" if name == "features" else name
        demand(array, path, f"its {what}", "Look at the detector's weights and at this image.", image_id)
    return array.tobytes()
