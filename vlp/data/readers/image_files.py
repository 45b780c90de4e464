"""Image files: where they lie, how large they are, whether they are whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

from vlp.archives import members, open_binary, split
from vlp.data.readers.common import BadRecord
from vlp.errors import ConfigError
from vlp.images.decode import ImageError, decode, header
from vlp.images.names import AmbiguousError, Names, key_of, number_of

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
        self._more: dict[str, list[Path]] = {}
        """Further members of one name."""
        self._numbered: dict[Path, dict[int, list[str]]] = {}
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
        """The file of the first of `names` that a folder or archive has; else of the same number (`images.names`).

        Raises:
            BadRecord: several folders have such a file, and the files differ; or a name leads out of them.
        """
        outside = next((name for name in names if name.startswith("/") or ".." in PurePosixPath(name).parts), None)
        if outside is not None:
            raise BadRecord("path out of the image folders", repr(outside), "Name images by paths within data.images.")
        found = self._as_named(names) or self._by_number(names[0])
        if not found:
            return None
        first, *others = found
        for other in others:
            if not _same(first, other):
                remedy = "Name one folder, or the images by their paths."
                raise BadRecord("ambiguous image", f"{first} and {other} are two images", remedy)
        return first

    def _as_named(self, names: Sequence[str]) -> list[Path]:
        """At most one of each folder; of names that say more of their path before others."""
        found: dict[int, list[Path]] = {}
        for folder in self._folders:
            for name in names:
                path = folder / name
                if path.name in self._names(path.parent):
                    found.setdefault(name.count("/"), []).append(path)
                    break
        for name in names:
            if name in self._members:
                found.setdefault(name.count("/"), []).extend([self._members[name], *self._more.get(name, ())])
                break
        return found[max(found)] if found else []

    def _by_number(self, name: str) -> list[Path]:
        end = PurePosixPath(name)
        number = number_of(end.name)
        if number is None:
            return []
        found = []
        for folder in self._folders:
            parent = folder / end.parent
            found += [parent / file for file in self._numbers(parent).get(number, ())]
        if self._members:
            try:
                inside = self._called.find(name)
            except AmbiguousError as error:
                raise BadRecord("ambiguous image", f"{error}", "Name the images by their paths.") from error
            found += [self._members[inside[1:]]] if inside is not None else []
        return found

    def _numbers(self, folder: Path) -> Mapping[int, list[str]]:
        if folder not in self._numbered:
            numbered = self._numbered[folder] = {}
            for file in sorted(self._names(folder)):
                number = number_of(file)
                if number is not None and key_of(file) != file:  # a folder has no ending
                    numbered.setdefault(number, []).append(file)
        return self._numbered[folder]

    @cached_property
    def _called(self) -> Names:
        return Names((f"/{name}" for name in self._members), "")

    def _index(self, archive: Path, folder: Path) -> None:
        """The members of an archive, or of a folder in it, by their path in that folder."""
        inner = folder.relative_to(archive).as_posix()
        start = "" if inner == "." else f"{inner}/"
        for member in members(archive):
            if member.startswith(start):
                name = member[len(start) :]
                if self._members.setdefault(name, archive / member) != archive / member:
                    self._more.setdefault(name, []).append(archive / member)

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


def _same(one: Path, other: Path) -> bool:
    """Whether two files, or members of archives, have the same bytes."""
    if one.resolve() == other.resolve():
        return True
    with open_binary(one) as first, open_binary(other) as second:
        return first.read() == second.read()


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
