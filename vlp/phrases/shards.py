"""Phrase frequencies of any number of sentences: shards that a killed run keeps, merged in constant memory.

A shard is a fixed number of consecutive sentences, so what is written does not depend on the number of processes.
Each shard file holds the distinct tuples of its sentences, sorted, with the number of sentences that have them.
"""

from __future__ import annotations

import hashlib
import heapq
import shutil
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vlp.errors import InputError
from vlp.files import atomic
from vlp.phrases import mine
from vlp.phrases.backends import rules_version
from vlp.phrases.graph import Kind
from vlp.phrases.texts import batched

SHARD = 4096
"""Sentences of a shard."""
FAN_IN = 64
"""Files merged at once: bounds open files and memory."""
SCHEMA = pa.schema([("kind", pa.string()), ("parts", pa.list_(pa.string())), ("sentences", pa.int64())])
_BATCH = 2048

Row = tuple[Kind, tuple[str, ...], int]
"""Kind, parts, number of sentences; files are sorted by kind and parts."""


@dataclass
class ShardCounts:
    shards: int = 0
    kept: int = 0
    """Shards of an earlier run that were found whole."""
    sentences: int = 0
    phrases: int = 0
    """Distinct tuples of each sentence, added up."""


def mine_shards(
    texts: Iterable[str], folder: Path, model: str, processes: int = 1, size: int = SHARD
) -> Generator[ShardCounts, None, None]:
    """Write one file for each `size` sentences; the counts so far after each. Shards that are there already stay.

    Memory holds at most two shards for each process, whatever the number of texts.

    Args:
        texts: sentences in a fixed order, equal ones as often as they occur; read lazily.
        model: spaCy model.

    Raises:
        InputError: the folder holds shards of more texts than there are.
    """
    parser, counts, number = rules_version(model), ShardCounts(), -1
    waiting: deque[tuple[Path, dict[str, str], mine.Task[list[Row]] | None]] = deque()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(folder, f"it can be no folder ({error.strerror}).", "Name another for --out.") from error
    with mine.workers(model, processes) as submit:
        for number, part in enumerate(batched(texts, size)):
            path = folder / f"{number:06d}.parquet"
            meta = {"parser": parser, "texts": _digest(part), "sentences": str(len(part))}
            task = None if _is_whole(path, meta) else submit(count_sentences, part)
            waiting.append((path, meta, task))
            while len(waiting) > 2 * processes:
                yield _finish(*waiting.popleft(), counts)
        while waiting:
            yield _finish(*waiting.popleft(), counts)
    surplus = [p for p in sorted(folder.glob("[0-9]*.parquet")) if int(p.stem) > number]
    if surplus:
        raise InputError(
            surplus[0], "the shard is of other texts.", "Empty the folder, or name the same texts as before."
        )


def count_sentences(texts: list[str]) -> list[Row]:
    """In how many of the sentences each tuple occurs, sorted. Runs in a worker process."""
    counts: Counter[tuple[Kind, tuple[str, ...]]] = Counter()
    for phrases in mine.mine_chunk(texts):
        counts.update({(p.kind, p.parts) for p in phrases})
    return [(kind, parts, n) for (kind, parts), n in sorted(counts.items())]


def frequencies(folder: Path) -> Iterator[Row]:
    """Every tuple of all shards with its number of sentences, sorted; in constant memory.

    Raises:
        InputError: there are no shards, or one is damaged.
    """
    paths = sorted(folder.glob("[0-9]*.parquet"))
    if not paths:
        raise InputError(folder, "there are no shards.", "Mine first: vlp phrases count.")
    scratch, level = folder / "merge", 0
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        while len(paths) > FAN_IN:
            groups = [paths[i : i + FAN_IN] for i in range(0, len(paths), FAN_IN)]
            paths = []
            for i, group in enumerate(groups):
                paths.append(scratch / f"{level}-{i:06d}.parquet")
                _write(paths[-1], _merge(group), {})
            level += 1
        yield from _merge(paths)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def sentences_of(folder: Path) -> int:
    """Sentences of all shards."""
    paths = sorted(folder.glob("[0-9]*.parquet"))
    return sum(int(_metadata(p)[b"sentences"]) for p in paths)


def _finish(path: Path, meta: dict[str, str], task: mine.Task[list[Row]] | None, counts: ShardCounts) -> ShardCounts:
    if task is None:
        counts.kept += 1
        counts.phrases += sum(n for *_, n in _rows(path))
    else:
        rows = task.get()
        counts.phrases += sum(n for *_, n in rows)
        _write(path, rows, meta)
    counts.shards += 1
    counts.sentences += int(meta["sentences"])
    return counts


def _write(path: Path, rows: Iterable[Row], meta: dict[str, str]) -> None:
    schema = SCHEMA.with_metadata(meta)
    with atomic(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for part in batched(rows, _BATCH):
            records: list[dict[str, Any]] = [{"kind": k, "parts": list(p), "sentences": n} for k, p, n in part]
            writer.write_table(pa.Table.from_pylist(records, schema=schema))


def _rows(path: Path) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH):
                columns = (batch[c].to_pylist() for c in ("kind", "parts", "sentences"))
                for kind, parts, sentences in zip(*columns, strict=True):
                    yield kind, tuple(parts), sentences
    except (pa.ArrowInvalid, KeyError, OSError) as error:
        raise InputError(path, f"not a whole shard ({error}).", "Remove it and mine again.") from error


def _merge(paths: Sequence[Path]) -> Iterator[Row]:
    merged = heapq.merge(*(_rows(p) for p in paths))
    for (kind, parts), rows in groupby(merged, key=lambda row: row[:2]):
        yield kind, parts, sum(n for *_, n in rows)


def _metadata(path: Path) -> dict[bytes, bytes]:
    try:
        return pq.read_schema(path).metadata or {}
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(path, f"not a whole shard ({error}).", "Remove it and mine again.") from error


def _is_whole(path: Path, meta: dict[str, str]) -> bool:
    """The shard is there, of the same texts and parser; a damaged or foreign one is made again."""
    try:
        found = _metadata(path) if path.exists() else {}
    except InputError:
        return False
    return all(found.get(k.encode()) == v.encode() for k, v in meta.items())


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
