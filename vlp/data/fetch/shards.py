"""Tar archives that grow as images come; after a kill they go on from what the status file says is in them."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO

from vlp.data.fetch.status import StatusFile
from vlp.files import atomic, raise_if_full

IMAGES = 10_000
"""Images of an archive."""
PART = ".part"
"""Ending of the archive that still grows."""


class Shards:
    """`00000.tar`, `00001.tar`, ... in `folder`. One process writes."""

    def __init__(self, folder: Path, status: StatusFile, images: int = IMAGES) -> None:
        self._folder, self._status, self._most = folder, status, images
        self._file: BinaryIO | None = None
        self._tar: tarfile.TarFile | None = None
        self._name, self._count = "", 0
        self.asked_again = 0
        """Images of archives that were damaged or gone."""
        self._recover()

    def append(self, name: str, data: bytes) -> str:
        """Add a member; gives the archive's name. It is safe after the next `flush`.

        Raises:
            InputError: the disk is full.
        """
        if self._tar is None:
            self._begin()
        assert self._tar is not None
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(data), 0o644
        try:
            self._tar.addfile(member, io.BytesIO(data))
        except OSError as error:
            raise_if_full(error, self._folder / self._name)
            raise
        self._count += 1
        return self._name

    @property
    def full(self) -> bool:
        return self._count >= self._most

    def flush(self) -> None:
        """To disk, then the status file; an archive that is full is closed."""
        if self._file is None or self._tar is None:
            self._status.commit()
            return
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise_if_full(error, self._folder / self._name)
            raise
        self._status.set_shard(self._name, self._file.tell(), whole=False)
        self._status.commit()
        if self.full:
            self.close()

    def close(self) -> None:
        """End the archive that grows: it gets its last blocks and its name."""
        if self._tar is None or self._file is None:
            return
        self._tar.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        size = self._file.tell()
        self._file.close()
        self._tar = self._file = None
        self._count = 0
        part = self._folder / (self._name + PART)
        part.replace(self._folder / self._name)
        self._status.set_shard(self._name, size, whole=True)
        self._status.commit()

    def remove(self, name: str, members: Collection[str]) -> None:
        """Write an archive again without some of its members."""
        path, gone = self._folder / name, set(members)
        with atomic(path) as temporary, tarfile.open(path) as old, tarfile.open(temporary, "w:") as new:
            for member in old:
                if member.name not in gone:
                    new.addfile(member, old.extractfile(member))
        self._status.set_shard(name, path.stat().st_size, whole=True)

    def _begin(self) -> None:
        known = [name for name, _, _ in self._status.shards()] + [p.name for p in self._folder.glob("*.tar")]
        number = max([-1, *(int(Path(name).stem) for name in known if Path(name).stem.isdecimal())]) + 1
        self._open(f"{number:05}.tar", 0)

    def _open(self, name: str, size: int) -> None:
        path = self._folder / (name + PART)
        file = path.open("r+b" if path.exists() else "w+b")
        file.truncate(size)
        file.seek(size)
        self._file, self._name = file, name
        self._tar = tarfile.open(fileobj=file, mode="w:")  # noqa: SIM115 (closed by close)

    def _recover(self) -> None:
        """Cut what was written after the last commit; ask again for what is gone or cut short."""
        for name, size, whole in self._status.shards():
            path, part = self._folder / name, self._folder / (name + PART)
            if path.exists() and path.stat().st_size >= size:
                if not whole:  # killed between the name and the note of it
                    self._status.set_shard(name, path.stat().st_size, whole=True)
            elif not whole and part.exists() and part.stat().st_size >= size and self._tar is None:
                self._open(name, size)
                self._count = self._status.in_shard(name)
            else:
                path.unlink(missing_ok=True)
                part.unlink(missing_ok=True)
                self.asked_again += self._status.lost_shard(name)
        self._status.commit()
