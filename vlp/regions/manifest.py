"""A region store of many files: a folder with a manifest that names each file's range, size and digests.

The manifest is written last, and its digest is that of the store: nobody has to read terabytes to know them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlp.errors import InputError
from vlp.files import STORE_MANIFEST, read_json
from vlp.regions.shard import Shard

FORMAT = "vlp-regions-folder/1"
_REMEDY = "Write the manifest again: vlp regions manifest."


@dataclass(frozen=True)
class Entry:
    """One file of the store."""

    file: str
    start: int
    """Number of its first image in the store"""
    stop: int
    """One past its last image"""
    rows: int
    bytes: int
    sha256: str
    index_sha256: str
    """Of its ids, sizes, offsets, names and checksums: compared each time the file is opened."""


@dataclass(frozen=True)
class Manifest:
    folder: Path
    shards: tuple[Entry, ...]

    @property
    def path(self) -> Path:
        return self.folder / STORE_MANIFEST

    def open(self, entry: Entry) -> Shard:
        """Raises InputError: the file is missing or is not the one that the manifest tells of."""
        path = self.folder / entry.file
        if not path.is_file():
            raise InputError(self.path, "the file is missing in the folder.", "Copy it there again.", row=entry.file)
        if path.stat().st_size != entry.bytes:
            found = f"{path.stat().st_size:,} bytes, wanted {entry.bytes:,}."
            raise InputError(path, f"the file is cut short or another one: {found}", "Copy or write it again.")
        shard = Shard(path)
        if (shard.index_sha256, len(shard), shard.rows) != (entry.index_sha256, entry.stop - entry.start, entry.rows):
            raise InputError(path, "the file is not the one that the manifest tells of.", _REMEDY)
        return shard


def read_manifest(folder: Path) -> Manifest:
    """Raises InputError: there is none, or it is damaged."""
    path = folder / STORE_MANIFEST
    if not path.exists():
        raise InputError(path, "the folder has no manifest: it is no region store, or not yet a whole one.", _REMEDY)
    value = read_json(path)
    try:
        if value["format"] != FORMAT:
            raise InputError(path, f"the format is {value['format']!r}, wanted {FORMAT!r}.", _REMEDY)
        shards = tuple(_entry(path, row) for row in value["shards"])
    except (KeyError, TypeError) as error:
        raise InputError(path, f"not a manifest of a region store ({error}).", _REMEDY) from error
    if not shards or [e.start for e in shards] != [0, *(e.stop for e in shards[:-1])]:
        raise InputError(path, "the ranges of the files do not follow one another.", _REMEDY)
    return Manifest(folder, shards)


def _entry(path: Path, row: Mapping[str, Any]) -> Entry:
    wanted = {"file": str, "start": int, "stop": int, "rows": int, "bytes": int, "sha256": str, "index_sha256": str}
    for name, kind in wanted.items():
        if not isinstance(row[name], kind):
            raise InputError(path, f"{name} is not a {kind.__name__}.", _REMEDY, row=str(row.get("file")))
    if Path(row["file"]).name != row["file"]:
        raise InputError(path, "a file of the store must lie in its folder.", _REMEDY, row=row["file"])
    return Entry(**{name: row[name] for name in wanted})
