"""Files that are whole or absent: write to a temporary name, fsync, rename; digests of files and folders."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from vlp.errors import InputError

_BLOCK = 1 << 20
STORE_MANIFEST = "regions.manifest.json"
"""Last file of a region store that is a folder; it holds the digests of the others."""


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is fsynced and renamed to `path`, on failure removed.

    Raises:
        InputError: the disk is full; what stood at `path` before is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as f:
            os.fsync(f.fileno())
        temporary.replace(path)
    except OSError as error:
        raise_if_full(error, path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


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


def write_text(path: str | Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, sort_keys=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Raises InputError naming the position where a JSON file is damaged, or that it is missing."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(path, "the file is missing.", "Check the path in the config.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
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
