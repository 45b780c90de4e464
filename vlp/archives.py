"""Images as members of tar archives: `folder/images.tar/a/1.jpg` is the member `a/1.jpg` of `folder/images.tar`.

An archive's directory is read once in a process; a member is then a seek and one read. Millions of small files make a
network disk slow, a few hundred archives do not. Only plain (uncompressed) tar files can be read at any place.
"""

from __future__ import annotations

import errno
import io
import stat
import tarfile
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from vlp.errors import InputError


def split(path: Path) -> tuple[Path, str] | None:
    """The archive and the member's name; None: the path does not lead into a tar file."""
    for parent in path.parents:
        if parent.suffix == ".tar" and parent.is_file():
            return parent, path.relative_to(parent).as_posix()
    return None


def open_binary(path: Path) -> BinaryIO:
    """The file, or the member of an archive, whole in memory.

    Raises:
        FileNotFoundError: there is no such file or member.
        OSError: it is no plain file: a folder, a device, a FIFO.
        InputError: the archive is damaged.
    """
    inside = split(path) if ".tar" in str(path) and not path.is_file() else None
    if inside is None:
        if not stat.S_ISREG(path.stat().st_mode):  # a FIFO would wait for ever
            raise OSError(errno.EINVAL, "is no plain file", str(path))
        return path.open("rb")
    archive, name = inside
    places = members(archive)
    if name not in places:
        raise FileNotFoundError(f"{archive} has no member {name}")
    start, size = places[name]
    with archive.open("rb") as file:
        file.seek(start)
        data = file.read(size)
    if len(data) != size:
        raise InputError(archive, "the archive is cut short.", "Fetch or make it again.", row=name)
    return io.BytesIO(data)


def members(archive: Path) -> dict[str, tuple[int, int]]:
    """Name -> byte offset and size of each file in the archive. Raises InputError: it is no whole tar file."""
    state = archive.stat()
    return _members(archive, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _members(archive: Path, size: int, changed: int) -> dict[str, tuple[int, int]]:
    try:
        with tarfile.open(archive, "r:") as tar:
            found = {}
            for m in tar:
                if m.issparse():  # its bytes do not lie in one piece
                    raise InputError(archive, "a sparse member.", "Pack it without --sparse.", row=m.name)
                if m.isreg():
                    found[_plain(m.name)] = (m.offset_data, m.size)
            return found
    except (tarfile.TarError, EOFError) as error:
        remedy = "Fetch or make it again; a compressed archive must be unpacked to a plain .tar."
        raise InputError(archive, f"not a whole tar file ({error}).", remedy) from error


def _plain(name: str) -> str:
    return name.removeprefix("./")
