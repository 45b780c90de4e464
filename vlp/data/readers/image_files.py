"""Image files: where they lie, how large they are, whether they are whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

from vlp.archives import members, split
from vlp.data.readers.common import BadRecord
from vlp.errors import ConfigError
from vlp.images.decode import ImageError, decode, header

UNREADABLE = "unreadable image"
_THREADS = 2
_CHUNK = 512

Item = TypeVar("Item")


class Folders:
    """Finds files by name; each folder is listed once (a stat for each of 120,000 files is slow on a network disk).

    The members of all archives stand in one index: a corpus from the web has hundreds of them.
    """

    def __init__(self, root: Path, folders: Sequence[str], where: str = "data") -> None:
        """
        Args:
            where: path of the data set's keys in the config.

        Raises:
            ConfigError: there is no such folder, or a pattern (`shards/*.tar`) fits nothing.
        """
        self._folders: list[Path] = []
        self._members: dict[str, Path] = {}
        for folder in folders:
            found = sorted(root.glob(folder)) if "*" in folder else [root / folder]
            if not found:
                raise ConfigError(f"{where}.images: nothing fits {root / folder}")
            for path in found:
                if path.is_dir():
                    self._folders.append(path)
                elif (inside := split(path / "_")) is not None:
                    self._index(inside[0], path)
                else:
                    raise ConfigError(f"{where}.images: there is no folder {path}")
        self._listed: dict[Path, frozenset[str]] = {}

    def find(self, names: Sequence[str]) -> Path | None:
        """The first of `names` in the first folder that has one, else in the archives."""
        for folder in self._folders:
            for name in names:
                path = folder / name
                if path.name in self._names(path.parent):
                    return path
        return next((self._members[name] for name in names if name in self._members), None)

    def _index(self, archive: Path, folder: Path) -> None:
        """The members of an archive, or of a folder in it, by their path in that folder."""
        inner = folder.relative_to(archive).as_posix()
        start = "" if inner == "." else f"{inner}/"
        for member in members(archive):
            if member.startswith(start):
                self._members.setdefault(member[len(start) :], archive / member)

    def _names(self, folder: Path) -> frozenset[str]:
        if folder not in self._listed:
            self._listed[folder] = frozenset(p.name for p in folder.iterdir()) if folder.is_dir() else frozenset()
        return self._listed[folder]


@dataclass(frozen=True)
class Probed:
    size: tuple[int, int]
    """Width, height of the upright picture, which annotations refer to."""
    notes: tuple[str, ...]
    """What the decoder warned of and decided."""


class Sizes:
    """Reads image sizes with two threads and a progress bar."""

    def __init__(self, total: int, progress: bool) -> None:
        self._bar = Progress(console=Console(stderr=True), disable=not progress)
        self._task = self._bar.add_task("images", total=total)

    def __enter__(self) -> Sizes:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def read(
        self, items: Sequence[Item], path: Callable[[Item], Path], kept: Callable[[], int], wanted: int | None
    ) -> Iterator[tuple[Item, Probed | BadRecord | None]]:
        """Each item with its size, with what is wrong, or with None once `wanted` are `kept`."""
        start = 0
        with ThreadPoolExecutor(_THREADS) as pool:
            while start < len(items) and (wanted is None or kept() < wanted):
                step = _CHUNK if wanted is None else min(_CHUNK, wanted - kept())
                chunk = items[start : start + step]
                yield from zip(chunk, pool.map(probe, map(path, chunk)), strict=True)
                self._bar.advance(self._task, len(chunk))
                start += step
        for item in items[start:]:
            yield item, None


def probe(path: Path) -> Probed | BadRecord:
    """The picture's size, after it has been decoded: a JPEG at an eighth of its size, which takes half the time."""
    try:
        size = header(path).size
        return Probed(size, decode(path, small=(1, 1)).notes)
    except ImageError as error:
        return BadRecord(UNREADABLE, f"{path.name}: {error}", "Fetch or make the image again.")
