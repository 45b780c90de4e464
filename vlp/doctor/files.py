"""What of a source is on disk, whole or not."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vlp.archives import members
from vlp.doctor.catalogue import File
from vlp.errors import InputError
from vlp.files import sha256

_TAIL = 4096


class State(StrEnum):
    PRESENT = "present"
    PACKED = "packed"
    """The download is there, what it gives is not."""
    INCOMPLETE = "incomplete"
    DAMAGED = "damaged"
    MISSING = "missing"


@dataclass(frozen=True)
class Finding:
    state: State
    detail: str


def look(file: File, root: Path, verify: bool = False) -> Finding:
    """What of a download, or of what it gives, lies below `root`.

    Args:
        verify: also compare the digest of a download, which reads all of it.
    """
    archive = root / file.name
    packed = _download(archive, file, verify) if archive.is_file() and file.name not in file.gives else None
    if packed is not None and packed.state is State.DAMAGED:
        return packed
    counts, absent, details = {}, [], []
    for pattern, expected in file.gives.items():
        there = sorted(root.glob(pattern))
        counts[pattern] = len(there)
        if not there:
            absent.append(pattern)
            continue
        for path in there if expected is None or len(there) <= 3 else []:
            if problem := broken(path):
                return Finding(State.DAMAGED, f"{path.relative_to(root)}: {problem}")
        of = f" of {expected:,}" if expected is not None and len(there) < expected else ""
        details.append(f"{pattern}: {len(there):,}{of}" if len(there) > 1 or of else pattern)
    if len(absent) == len(file.gives):
        return packed or Finding(State.MISSING, "")
    short = [p for p, n in file.gives.items() if n is not None and counts[p] < n]
    if absent or short:
        details += [f"{pattern}: none" for pattern in absent]
        return Finding(State.INCOMPLETE, ", ".join(details))
    return Finding(State.PRESENT, ", ".join(details))


def _download(path: Path, file: File, verify: bool) -> Finding:
    size = path.stat().st_size
    if file.bytes is not None and size != file.bytes:
        return Finding(State.DAMAGED, f"{path.name} has {size:,} bytes, {file.bytes:,} are expected")
    if problem := broken(path):
        return Finding(State.DAMAGED, f"{path.name}: {problem}")
    if not verify or file.sha256 is None:
        return Finding(State.PACKED, f"{path.name}, digest {'not known' if file.sha256 is None else 'not compared'}")
    digest = sha256(path)
    if digest != file.sha256:
        return Finding(State.DAMAGED, f"{path.name}: sha256 is {digest[:12]}, not {file.sha256[:12]}")
    return Finding(State.PACKED, f"{path.name}, digest as published")


def broken(path: Path) -> str | None:
    """What shows without reading all of it that a file is not whole; None: nothing."""
    if path.is_dir():
        return None
    if not path.stat().st_size:
        return "it is empty"
    if path.suffix == ".zip" and not zipfile.is_zipfile(path):
        return "not a whole zip archive"
    if path.suffix == ".tar":
        try:
            members(path)
        except InputError as error:
            return error.problem
    if path.suffix in (".json", ".jsonl"):
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            end = file.read().rstrip()[-1:]
        if end not in (b"}", b"]"):
            return "it ends within a record"
    return None
