"""Files that are whole or absent: write to a temporary name, fsync, rename; digests of files and folders."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

from vlp.errors import InputError

_BLOCK = 1 << 20
STORE_MANIFEST = "regions.manifest.json"
"""Last file of a region store that is a folder; it holds the digests of the others."""


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is fsynced and renamed to `path`, on failure removed.

    Whatever wrote it, its mode is that of any new file.

    Raises:
        InputError: the disk is full; what stood at `path` before is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        open_to_others(temporary)
        with temporary.open("rb") as f:
            os.fsync(f.fileno())
        temporary.replace(path)
    except OSError as error:
        raise_if_full(error, path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def open_to_others(path: str | Path) -> None:
    """Give a file or folder the mode that the umask gives new ones: some writers make theirs for their owner alone."""
    path = Path(path)
    wanted = (0o777 if path.is_dir() else 0o666) & ~_umask()
    if path.stat().st_mode & 0o777 != wanted:
        with contextlib.suppress(PermissionError):  # a file of somebody else, or a file system without modes
            path.chmod(wanted)


def _umask() -> int:
    try:
        with Path("/proc/self/status").open(encoding="ascii", errors="replace") as status:
            return next(int(line.split()[1], 8) for line in status if line.startswith("Umask:"))
    except (OSError, StopIteration):  # not Linux: it can only be read by setting it
        old = os.umask(0o077)
        os.umask(old)
        return old


def raise_if_full(error: BaseException, path: str | Path) -> None:
    """Turn ENOSPC/EDQUOT (also h5py's and pyarrow's wording of it) into an `InputError` with a remedy."""
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error):
        free = shutil.disk_usage(Path(path).parent).free
        raise InputError(
            path,
            f"the disk is full ({free / 2**20:.0f} MiB free); the unfinished file was removed.",
            "Free some space or set `results` to another disk, then run the same command again.",
        ) from error


def lock(handle: IO[Any], seconds: float) -> None:
    """Take the lock of an open file, which goes with it. Raises TimeoutError: another process keeps it for so long."""
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > end:
                raise TimeoutError(f"another process holds {handle.name}") from error
            time.sleep(0.05)


def write_text(path: str | Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Raises InputError: a number is not finite; where it stands is said."""
    write_text(path, to_json(value, path, indent=1, ensure_ascii=False) + "\n")


def to_json(value: Any, where: str | Path = "JSON", **options: Any) -> str:
    """As json.dumps, whose bare NaN and Infinity no other reader of JSON takes. All JSON here is written by it.

    Args:
        where: the file that it is for.
        options: of json.dumps.

    Raises:
        InputError: a number is not finite; where it stands in the value is said.
    """
    try:
        return json.dumps(value, allow_nan=False, **options)
    except ValueError as error:
        found = next(_not_finite(value), None)
        if found is None:
            raise
        problem = f"{found[0]} would be {found[1]}, which is no number."
        raise InputError(where, problem, "It is not written. Look at what it was computed from.") from error


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


def _not_finite(value: Any, place: str = "it") -> Iterator[tuple[str, float]]:
    """The numbers that are not finite, with their keys."""
    if isinstance(value, float) and not math.isfinite(value):
        yield place.removeprefix("it."), value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _not_finite(one, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for at, one in enumerate(value):
            yield from _not_finite(one, f"{place}[{at}]")


def read_json(path: str | Path) -> Any:
    """Raises InputError naming the position where a JSON file is damaged, that it has a bare NaN, or is missing."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_no_number)
    except FileNotFoundError as error:
        raise InputError(path, "the file is missing.", "Check the path in the config.") from error
    except OSError as error:  # a folder, or a name below a file
        raise InputError(path, f"it cannot be read ({error.strerror}).", "Name a JSON file.") from error
    except (ValueError, RecursionError) as error:
        row = getattr(error, "lineno", None)
        raise InputError(path, f"not valid JSON ({error}).", "Fetch or make the file again.", row=row) from error


def sha256(path: str | Path) -> str:
    """Digest of a file, or of a folder: the digest of its sorted (relative name, file digest) list.

    Of a folder with the manifest of a region store it is the manifest's: a store may have a terabyte.
    """
    path = Path(path)
    if (path / STORE_MANIFEST).is_file():
        path = path / STORE_MANIFEST
    if path.is_dir():
        return folder_sha256({p.relative_to(path).as_posix(): sha256(p) for p in path.rglob("*") if p.is_file()})
    digest = hashlib.sha256()
    with path.open("rb") as f:
        while block := f.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def folder_sha256(files: Mapping[str, str]) -> str:
    """The digest of a folder from its files' names (relative to it) and digests, of whichever order."""
    return hashlib.sha256(folder_lines(files).encode()).hexdigest()


def folder_lines(files: Mapping[str, str]) -> str:
    """A line `digest  name` for each file, in one order, as sha256sum writes them."""
    ordered = sorted(files.items(), key=lambda item: PurePosixPath(item[0]))
    return "".join(f"{digest}  {name}\n" for name, digest in ordered)
