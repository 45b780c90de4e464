"""What a journal tells of a file or a folder: path, sha256, size; and of a folder the digest of each file in it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlp.archives import open_binary
from vlp.errors import InputError
from vlp.files import STORE_MANIFEST, folder_lines, sha256, write_text

LISTS = "digests"
"""Folder beside the journals. A folder's list stands in the file that has the folder's sha256 as its name, and as its
own digest; `sha256sum --check` reads it.
"""


@dataclass(frozen=True)
class Part:
    """Some files of a folder."""

    folder: Path
    names: tuple[str, ...]
    """Relative to the folder, or absolute where outside of it; also members of tar archives."""

    @classmethod
    def of(cls, folder: Path, paths: Iterable[str | Path]) -> Part:
        """Args: paths: as they are in the images table: absolute, or relative to `folder`."""
        names = {path.relative_to(folder) if path.is_relative_to(folder) else path for path in map(Path, paths)}
        return cls(folder, tuple(sorted(name.as_posix() for name in names)))


@dataclass(frozen=True)
class Merged:
    """A file of which all goes into the outputs of the run that reads it: the workflow may remove it afterwards."""

    path: Path


Source = str | Path | Part | Merged
"""What a run reads or writes."""


@dataclass(frozen=True)
class Hashed:
    """A file, or the files of a folder, with the digests of the moment when they were read."""

    path: Path
    files: Mapping[str, tuple[str, int]]
    """Name in the folder -> sha256 and size; of a file itself and of a folder with a list of its own under ``; empty:
    it is not there."""
    listed: bool = False
    """It is a folder, and `files` are those in it."""
    kind: tuple[str, ...] = ()
    """`part`: these files only; `merged`: see `Merged`."""

    @property
    def paths(self) -> dict[Path, str]:
        """Each file -> its digest."""
        here = self.path.resolve()
        return {here / name if name else here: digest for name, (digest, _) in self.files.items()}

    def event(self, folder: Path) -> dict[str, Any]:
        """path (relative to `folder`, the experiment's, where it lies inside), sha256, size in bytes of all.

        The digests of a folder's files are kept in `folder`/journals/digests.
        """
        told = {"path": relative(self.path, folder)} | dict.fromkeys(self.kind, True)
        if self.listed:
            digest, size = _list(self.files, folder), sum(size for _, size in self.files.values())
        else:
            digest, size = self.files.get("", (None, None))
        return told | {"sha256": digest, "size": size}


def hashed(path: Source) -> Hashed:
    """Reads all of it once."""
    if isinstance(path, Merged):
        return replace(hashed(path.path), kind=("merged",))
    if isinstance(path, Part):
        return Hashed(path.folder, dict(_contents(path)), True, ("part",))
    path = Path(path)
    if not path.exists():
        return Hashed(path, {})
    if not path.is_dir():
        return Hashed(path, {"": (sha256(path), path.stat().st_size)})
    files = [p for p in path.rglob("*") if p.is_file()]
    if is_store(path):
        return Hashed(path, {"": (sha256(path), sum(p.stat().st_size for p in files))})
    return Hashed(path, {p.relative_to(path).as_posix(): (sha256(p), p.stat().st_size) for p in files}, True)


def describe(path: Source, folder: Path) -> dict[str, Any]:
    """What a journal tells of it now."""
    return hashed(path).event(folder)


def digests_of(folder: Path, digest: str) -> dict[str, str] | None:
    """Name -> sha256 of the files of a folder that had this digest; None: there is no list of them.

    Args:
        folder: of the experiment whose journal tells of it.
    """
    path = _list_file(folder, digest)
    if not path.exists() or sha256(path) != digest:
        return None
    lines = path.read_text(encoding="utf-8").splitlines()
    return {name: one for one, _, name in (line.partition("  ") for line in lines)}


def digest_now(path: Path) -> str | None:
    """Of a file, a folder, or a member of a tar archive; None: it is gone."""
    if path.exists():
        return sha256(path)
    try:
        return hashlib.sha256(_bytes(path)).hexdigest()
    except (OSError, InputError):
        return None


def is_store(path: Path) -> bool:
    """A region store that is a folder has a list of its own."""
    return (path / STORE_MANIFEST).is_file()


def relative(path: str | Path, folder: str | Path) -> str:
    path, folder = Path(path).resolve(), Path(folder).resolve()
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _contents(part: Part) -> Iterator[tuple[str, tuple[str, int]]]:
    """Without files that cannot be read: the rule that needs them tells of those."""
    for name in part.names:
        with contextlib.suppress(OSError, InputError):
            path = part.folder / name
            data = None if path.is_file() else _bytes(path)
            size = path.stat().st_size if data is None else len(data)
            yield name, (sha256(path) if data is None else hashlib.sha256(data).hexdigest(), size)


def _bytes(path: Path) -> bytes:
    with open_binary(path) as file:
        return file.read()


def _list(files: Mapping[str, tuple[str, int]], folder: Path) -> str:
    """The digest of a folder's files; their list is kept."""
    text = folder_lines({name: digest for name, (digest, _) in files.items()})
    digest = hashlib.sha256(text.encode()).hexdigest()
    if not _list_file(folder, digest).exists():
        with contextlib.suppress(OSError, InputError):  # a full disk: the folder's own digest is in the journal
            write_text(_list_file(folder, digest), text)
    return digest


def _list_file(folder: Path, digest: str) -> Path:
    return folder / "journals" / LISTS / f"{digest}.sha256"
