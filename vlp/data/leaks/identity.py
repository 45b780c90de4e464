"""Who an image is: its ids in COCO, on Flickr and in Visual Genome, and its perceptual hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vlp.data.leaks.phash import WORDS, Hashes, hash_file
from vlp.data.tables import read_table
from vlp.errors import InputError
from vlp.files import atomic
from vlp.images.decode import ImageError

IDS = ("coco_id", "flickr_id", "vg_id")
IDENTITY = pa.schema(
    [
        *((name, pa.string()) for name in ("image_id", "split", *IDS)),
        ("hash", pa.binary(8 * WORDS)),
    ]
)
"""`hash`: big-endian words; null: not hashed, unreadable, or flat."""
FILE = "identity.parquet"
_PART = 20_000
"""Images whose hashes are kept at once, so that a killed command goes on."""
_REMEDY = "Make it again: vlp data leaks."


@dataclass
class Hashed:
    """What became of the images."""

    images: int = 0
    hashed: int = 0
    flat: int = 0
    exempt: int = 0
    unreadable: list[str] = field(default_factory=list)


def data_set(image_id: str) -> str:
    """`flickr30k/1000268201` -> `flickr30k`."""
    return image_id.split("/", 1)[0]


def identify(
    tables: Path,
    root: Path,
    out: Path,
    not_hashed: Collection[str] = (),
    threads: int = 1,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Hashed:
    """Write `out`: the identity of every row of the `images` table.

    A killed call goes on with the parts it has finished, which stand beside `out` until it is whole.

    Args:
        root: what relative paths of the table start from.
        not_hashed: data sets (first part of an image's id) whose pictures are compared by ids alone.
    """
    images = read_table(tables, "images")
    parts, found = out.with_name(f".{out.name}.parts"), Hashed(images.num_rows)
    made = []
    for start in range(0, images.num_rows, _PART):
        piece = images.slice(start, _PART)
        key = _key(piece, root, not_hashed)
        path = parts / f"{start:09}.parquet"
        table = _finished(path, key)
        if table is None:
            table = _hash(
                piece, root, not_hashed, threads, lambda done, start=start: progress(start + done, len(images))
            )
            with atomic(path) as temporary:
                pq.write_table(table.replace_schema_metadata({"key": key}), temporary)
        made.append(table)
        _count(found, table)
    whole = pa.concat_tables([t.replace_schema_metadata(None).select(IDENTITY.names) for t in made] or [_EMPTY])
    with atomic(out) as temporary:
        pq.write_table(whole.cast(IDENTITY), temporary, compression="zstd")
    for path in parts.glob("*.parquet"):
        path.unlink()
    parts.rmdir()
    return found


_EMPTY = IDENTITY.empty_table()


def _key(piece: pa.Table, root: Path, not_hashed: Collection[str]) -> str:
    """Digest of what a part is made from."""
    value = [str(root), sorted(not_hashed), piece.select(["image_id", "path", "split", *IDS]).to_pylist()]
    return hashlib.sha256(repr(value).encode()).hexdigest()


def _finished(path: Path, key: str) -> pa.Table | None:
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (OSError, pa.ArrowInvalid):
        return None
    return table if (table.schema.metadata or {}).get(b"key") == key.encode() else None


def _hash(
    piece: pa.Table, root: Path, not_hashed: Collection[str], threads: int, progress: Callable[[int], None]
) -> pa.Table:
    rows = piece.to_pylist()

    def work(row: dict[str, Any]) -> tuple[bytes | None, str]:
        if data_set(row["image_id"]) in not_hashed:
            return None, "exempt"
        try:
            words = hash_file(root / row["path"])
        except ImageError as error:
            return None, f"unreadable: {error}"
        return (None, "flat") if words is None else (words.astype(">u8").tobytes(), "hashed")

    hashes, states = [], []
    with ThreadPoolExecutor(threads) as pool:
        for number, (value, state) in enumerate(pool.map(work, rows), start=1):
            hashes.append(value)
            states.append(state)
            if number % 200 == 0 or number == len(rows):
                progress(number)
    columns = {name: piece[name] for name in ("image_id", "split", *IDS)}
    return pa.table({**columns, "hash": pa.array(hashes, pa.binary(8 * WORDS)), "state": states})


def _count(found: Hashed, table: pa.Table) -> None:
    for image_id, state in zip(table["image_id"].to_pylist(), table["state"].to_pylist(), strict=True):
        if state.startswith("unreadable"):
            found.unreadable.append(f"{image_id} ({state.partition(': ')[2]})")
        else:
            setattr(found, state, getattr(found, state) + 1)


def read(path: Path) -> pa.Table:
    """Raises InputError: the file is missing, damaged, or of another form."""
    return read_parquet(path, IDENTITY, _REMEDY)


def read_parquet(path: Path, schema: pa.Schema, remedy: str) -> pa.Table:
    """Raises InputError: the file is missing, damaged, or has other columns than `schema`."""
    if not path.exists():
        raise InputError(path, "the file is missing.", remedy)
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(path, f"not a whole Parquet file ({error}).", remedy) from error
    if not table.schema.equals(schema):
        raise InputError(path, f"the columns are not {', '.join(schema.names)}.", remedy)
    return table


def of_images(identity: pa.Table, image_ids: Collection[str], file: Path) -> pa.Table:
    """The rows of these images, in the table's order.

    Raises:
        InputError: an image is not in the table, so nothing is known of it.
    """
    wanted = set(image_ids)
    kept = [i for i, image_id in enumerate(identity["image_id"].to_pylist()) if image_id in wanted]
    if len(kept) != len(wanted):
        there = set(identity["image_id"].to_pylist())
        lost = min(wanted - there) if wanted - there else min(wanted)
        raise InputError(file, f"says nothing of {len(wanted) - len(kept)} images.", _REMEDY, row=lost)
    return identity.take(pa.array(kept, pa.int64()))


def hashes_of(identity: pa.Table) -> tuple[Sequence[int], Hashes]:
    """Rows that have a hash, and the hashes [N, WORDS]."""
    values = identity["hash"].to_pylist()
    rows = [i for i, value in enumerate(values) if value is not None]
    data = b"".join(values[i] for i in rows)
    return rows, np.frombuffer(data, ">u8").astype(np.uint64).reshape(len(rows), WORDS)
