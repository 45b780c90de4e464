"""What became of every address: an SQLite file that is written as the images come, and a Parquet copy of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from vlp.data.fetch.client import AGAIN, Answer, Status
from vlp.data.fetch.picture import Picture
from vlp.errors import InputError
from vlp.files import atomic

FILE = "status.sqlite"
COLUMNS = ("place", "address", "status", "http", "detail", "tries", "sha256", "bytes", "width", "height", "shard")
_TABLES = """
create table if not exists addresses (
    place integer primary key, address text not null unique, status text not null default 'pending', http integer,
    detail text not null default '', tries integer not null default 0, sha256 text, bytes integer, width integer,
    height integer, shard text);
create index if not exists by_status on addresses (status);
create index if not exists by_digest on addresses (sha256);
create table if not exists shards (name text primary key, bytes integer not null, whole integer not null);
"""


class StatusFile:
    """Changes are kept together until `commit`, which the caller calls when the images they speak of are on disk."""

    def __init__(self, path: Path) -> None:
        """Raises InputError: the file is damaged."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._db = path, sqlite3.connect(path)
        try:
            self._db.execute("pragma journal_mode = wal")
            self._db.executescript(_TABLES)
            damaged = self._db.execute("pragma quick_check").fetchone()[0]
        except sqlite3.DatabaseError as error:
            damaged = str(error)
        if damaged != "ok":
            raise InputError(path, f"is damaged ({damaged}).", "Move the folder away and fetch again.")

    def close(self) -> None:
        self._db.close()

    def commit(self) -> None:
        self._db.commit()

    def add(self, addresses: Iterable[str]) -> int:
        """Addresses that are not known yet, in their order; gives the number of all that are known."""
        start = self._db.execute("select coalesce(max(place), -1) + 1 from addresses").fetchone()[0]
        numbered = ((start + i, address) for i, address in enumerate(addresses))
        self._db.executemany("insert or ignore into addresses (place, address) values (?, ?)", numbered)
        self.commit()
        return self._db.execute("select count(*) from addresses").fetchone()[0]

    def open_places(self, limit: int | None) -> list[int]:
        """Places of the addresses without a last word, of the first `limit` ones of the list."""
        marks = ", ".join(f"'{status}'" for status in (Status.PENDING, *sorted(AGAIN)))
        most = -1 if limit is None else limit
        first = f"select place, status from addresses order by place limit {most}"
        return [row[0] for row in self._db.execute(f"select place from ({first}) where status in ({marks})")]

    def addresses(self, places: Iterable[int]) -> list[str]:
        asked = [self._db.execute("select address from addresses where place = ?", (p,)).fetchone() for p in places]
        return [row[0] for row in asked]

    def failed(self, address: str, answer: Answer, tries: int) -> None:
        self._db.execute(
            "update addresses set status = ?, http = ?, detail = ?, tries = tries + ? where address = ?",
            (answer.status, answer.http, answer.detail, tries, address),
        )

    def came(self, address: str, answer: Answer, tries: int, picture: Picture, shard: str | None) -> None:
        self._db.execute(
            "update addresses set status = ?, http = ?, detail = ?, tries = tries + ?, sha256 = ?, bytes = ?, "
            "width = ?, height = ?, shard = ? where address = ?",
            (
                *(picture.status, answer.http, picture.detail, tries, picture.sha256, picture.bytes),
                *(picture.width, picture.height, shard, address),
            ),
        )

    def same(self, sha256: str) -> int:
        """Addresses from which these bytes came."""
        return self._db.execute("select count(*) from addresses where sha256 = ?", (sha256,)).fetchone()[0]

    def counts(self) -> dict[str, int]:
        rows = self._db.execute("select status, count(*) from addresses group by status order by 2 desc, 1")
        return dict(rows.fetchall())

    # -- shards --------------------------------------------------------------------------------------------------
    def shards(self) -> list[tuple[str, int, bool]]:
        """(name, bytes that are on disk, whole)."""
        return [(n, b, bool(w)) for n, b, w in self._db.execute("select name, bytes, whole from shards order by name")]

    def in_shard(self, name: str) -> int:
        """Number of images."""
        return self._db.execute("select count(*) from addresses where shard = ?", (name,)).fetchone()[0]

    def set_shard(self, name: str, size: int, whole: bool) -> None:
        self._db.execute("insert or replace into shards values (?, ?, ?)", (name, size, whole))

    def lost_shard(self, name: str) -> int:
        """A shard is not as it was left: its addresses are asked for again; gives their number."""
        self._db.execute("delete from shards where name = ?", (name,))
        again = "update addresses set status = 'pending', shard = null, sha256 = null where shard = ?"
        return self._db.execute(again, (name,)).rowcount

    # -- place-holders -------------------------------------------------------------------------------------------
    def mark_placeholders(self, repeats: int) -> None:
        """Every address whose bytes came from `repeats` addresses or more."""
        self._db.execute(
            "update addresses set status = 'placeholder' where status in ('ok', 'placeholder') and sha256 in "
            "(select sha256 from addresses where sha256 is not null group by sha256 having count(*) >= ?)",
            (repeats,),
        )

    def to_remove(self) -> dict[str, list[str]]:
        """Shard -> addresses whose images are in it though they are place-holders."""
        found: dict[str, list[str]] = {}
        rows = "select shard, address from addresses where status = 'placeholder' and shard is not null order by place"
        for shard, address in self._db.execute(rows):
            found.setdefault(shard, []).append(address)
        return found

    def removed(self, addresses: Iterable[str]) -> None:
        self._db.executemany("update addresses set shard = null where address = ?", ((a,) for a in addresses))

    # -- export --------------------------------------------------------------------------------------------------
    def rows(self) -> Iterator[list[tuple]]:
        cursor = self._db.execute(f"select {', '.join(COLUMNS)} from addresses order by place")
        while rows := cursor.fetchmany(50_000):
            yield rows

    def export(self, path: Path) -> None:
        """All of it as Parquet."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        numbers = ("place", "http", "tries", "bytes", "width", "height")
        schema = pa.schema([(name, pa.int64() if name in numbers else pa.string()) for name in COLUMNS])
        with atomic(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as out:
            for rows in self.rows():
                columns = zip(*rows, strict=True)
                out.write_table(pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema))
