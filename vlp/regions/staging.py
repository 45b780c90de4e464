"""A copy of a region store on a node's local disk, made once and found again by the node's other processes."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from vlp.errors import ConfigError, InputError
from vlp.files import STORE_MANIFEST, atomic, raise_if_full, read_json, sha256, write_json
from vlp.progress import Meter
from vlp.regions.manifest import Entry, read_manifest
from vlp.regions.shard import Shard

_BLOCK = 1 << 22
_RECORD = "staged.json"
"""Beside a copy that was compared: size and time of change of its files."""


def stage(store: Path, folder: Path) -> Path:
    """Copy a store, a file or a folder, into `folder` on a local disk -> the copy's path.

    Digests are compared while bytes are copied; files that are there and whole are kept, so a copy that was stopped
    goes on. Of a folder the manifest comes last: before, the copy is no store.

    Raises:
        InputError: a file does not give its digest, an image not its checksum, the disk is too small.
    """
    target = folder / store.name
    if not store.is_dir():
        if not _is_copy(store, target):
            with Meter("stage regions", store.stat().st_size >> 20, "MiB") as meter:
                _copy(store, target, None, meter)
            for fault in Shard(target).faults("Extract or import the regions again."):
                target.unlink()
                raise InputError(store, fault.problem, fault.remedy, fault.row)
        return target
    manifest = read_manifest(store)
    target.mkdir(parents=True, exist_ok=True)
    with Meter("stage regions", sum(entry.bytes for entry in manifest.shards) >> 20, "MiB") as meter:
        for entry in manifest.shards:
            there = target / entry.file
            if _is_whole(there, entry):
                meter.advance(entry.bytes >> 20)
            else:
                _copy(store / entry.file, there, entry.sha256, meter)
    _copy(manifest.path, target / STORE_MANIFEST, sha256(manifest.path), None)
    return target


def staged(store: Path, stage_to: Path) -> Path:
    """`stage` for the processes of a node, as training calls it -> the copy's path.

    The copy lies in a folder named by what the store holds, so that two stores, and a store that was written again,
    do not meet. One process copies, the others wait; whoever finds a copy that was compared, and whose files have
    kept their size and time of change since, reads nothing of it.

    Args:
        stage_to: `launch.stage_to`; variables in it ($TMPDIR) are those of the node.

    Raises:
        ConfigError: a variable is not set.
        InputError: as `stage`.
    """
    folder = Path(os.path.expandvars(stage_to))
    if "$" in str(folder):
        raise ConfigError(f"launch.stage_to: {stage_to}: the variable is not set on this node")
    digest = sha256(store) if store.is_dir() else Shard(store).index_sha256 or sha256(store)
    folder = folder / digest[:16]
    with _alone(folder):
        record, target = folder / _RECORD, folder / store.name
        if record.is_file() and read_json(record) == _state(target):
            return target
        record.unlink(missing_ok=True)
        stage(store, folder)
        write_json(record, _state(target))
    return target


def _state(copy: Path) -> dict[str, list[int]]:
    files = [copy] if copy.is_file() else sorted(copy.glob("*"))
    return {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in files}


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed, also by a kill
        yield


def _is_whole(path: Path, entry: Entry) -> bool:
    return path.is_file() and path.stat().st_size == entry.bytes and sha256(path) == entry.sha256


def _is_copy(store: Path, target: Path) -> bool:
    """Whether `target` has the images of the file `store`, checksums and all. Raises InputError: `store` is damaged."""
    digest = Shard(store).index_sha256  # holds the checksums
    try:
        there = Shard(target)
        there.check_whole("")
    except InputError:
        return False
    return digest is not None and there.index_sha256 == digest


def _copy(source: Path, target: Path, wanted: str | None, meter: Meter | None) -> None:
    if not source.is_file():
        raise InputError(source, "the file is missing.", "Copy it there again.")
    target.parent.mkdir(parents=True, exist_ok=True)
    size, free = source.stat().st_size, shutil.disk_usage(target.parent).free
    if size > free:
        remedy = "Free some space or name another disk."
        raise InputError(target, f"the disk is full: {free / 2**20:.0f} MiB free, {size / 2**20:.0f} wanted.", remedy)
    digest, done = hashlib.sha256(), 0
    try:
        with atomic(target) as temporary, source.open("rb") as read, temporary.open("wb") as write:
            while block := read.read(_BLOCK):
                digest.update(block)
                write.write(block)
                done += len(block)
                if meter is not None:
                    meter.advance((done >> 20) - ((done - len(block)) >> 20))
            write.flush()
            os.fsync(write.fileno())
            if wanted is not None and digest.hexdigest() != wanted:
                raise InputError(source, "the bytes do not give the digest of the manifest.", "Write the file again.")
    except OSError as error:
        raise_if_full(error, target)
        raise
