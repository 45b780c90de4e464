"""A folder of region files becomes a store: its manifest is written."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from vlp.errors import InputError
from vlp.files import STORE_MANIFEST, sha256, write_json
from vlp.regions.manifest import FORMAT, Entry, Manifest, read_manifest
from vlp.regions.shard import Shard
from vlp.regions.store import RegionStore


def write_manifest(folder: Path) -> Manifest:
    """Make the store of the folder's *.h5 files, in the order of their names; every byte is read once.

    Raises:
        InputError: there is no such file, one is damaged or unlike the others, or an image comes twice.
    """
    files = sorted(path for path in folder.glob("*.h5") if not path.name.startswith("."))
    if not files:
        raise InputError(folder, "the folder has no *.h5 file.", "Name the folder of the region shards.")
    entries: list[Entry] = []
    for path in files:
        shard, start = Shard(path), entries[-1].stop if entries else 0
        if shard.index_sha256 is None:
            raise InputError(path, "the file was written before files had a digest of their index.", "Write it again.")
        shard.check_whole("Write it again.")
        size, digest = path.stat().st_size, sha256(path)
        entries.append(Entry(path.name, start, start + len(shard), shard.rows, size, digest, shard.index_sha256))
    shown = {"format": FORMAT, "images": entries[-1].stop, "rows": sum(e.rows for e in entries)}
    (folder / STORE_MANIFEST).unlink(missing_ok=True)  # the old one may tell of files that are no more
    write_json(folder / STORE_MANIFEST, {**shown, "shards": [asdict(entry) for entry in entries]})
    try:
        store = RegionStore(folder)
        store.index(store.image_ids[0]) if len(store) else None  # the search for ids finds those that come twice
    except InputError:
        (folder / STORE_MANIFEST).unlink()
        raise
    return read_manifest(folder)
