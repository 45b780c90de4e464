"""Mine the tuples of every distinct text with several processes: `phrases.parquet`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from vlp.data.tables import read_table
from vlp.errors import InputError
from vlp.files import atomic
from vlp.phrases.backends import Parser, open_parser, texts_at_once
from vlp.phrases.graph import Phrase
from vlp.phrases.texts import batched

TEXT_TABLES = ("captions", "questions", "entailment", "referring")
CHUNK = 1024
"""Rows of the file that are written at once: fixed, so that its bytes depend on nothing else."""

_WORD = pa.struct([("start", pa.int32()), ("end", pa.int32())])
_TUPLE = pa.struct([("kind", pa.string()), ("parts", pa.list_(pa.string())), ("words", pa.list_(_WORD))])
SCHEMA = pa.schema([("text", pa.string()), ("tuples", pa.list_(_TUPLE))])

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Submit = Callable[[Callable[[list[str]], Any], list[str]], "Task[Any]"]

_parser: Parser | None = None


@dataclass
class MiningCounts:
    texts: int = 0
    without_phrase: int = 0
    phrases: int = 0

    def add(self, phrases: Sequence[Phrase]) -> None:
        self.texts += 1
        self.without_phrase += not phrases
        self.phrases += len(phrases)

    @property
    def per_text(self) -> float:
        return self.phrases / self.texts if self.texts else 0.0

    def metrics(self) -> dict[str, float]:
        """What the run of the rule is told."""
        return {
            "texts": self.texts,
            "texts_without_phrase": self.without_phrase,
            "phrases_per_text": self.per_text,
        }

    def __str__(self) -> str:
        return f"{self.texts} texts, {self.without_phrase} without a phrase, {self.per_text:.2f} phrases per text"


def distinct_texts(tables: str | Path) -> list[str]:
    """The distinct texts of captions, questions, hypotheses and referring expressions, sorted.

    Raises:
        InputError: a table is missing, or has an empty text.
    """
    found: set[str] = set()
    for name in TEXT_TABLES:
        table = read_table(tables, name)
        texts = table["text"].to_pylist()
        for row, text in enumerate(texts):
            if not text or not text.strip():
                where = f"{table.schema.names[0]} {table[0][row]}"
                raise InputError(
                    Path(tables) / f"{name}.parquet", "the text is empty.", "Make the tables again.", where
                )
        found.update(texts)
    return sorted(found)


def joined(paths: Sequence[Path]) -> Iterator[tuple[str, tuple[Phrase, ...]]]:
    """Text and phrases of all shards, in their order.

    Raises:
        InputError: a shard is missing or damaged, or they are not in order.
    """
    last = ""
    for path in paths:
        for text, phrases in read(path).items():
            if text <= last:
                raise InputError(
                    path, f"{text!r} does not come after {last!r}.", "Name the shards in order, each once."
                )
            last = text
            yield text, phrases


def mine(texts: Sequence[str], model: str, processes: int = 1) -> Iterator[tuple[str, tuple[Phrase, ...]]]:
    """Text and phrases, in order; a text without a phrase has none.

    Args:
        model: name of the parser (`backends.open_parser`).
        processes: 1 works in this process.
    """
    chunks = list(batched(texts, texts_at_once(model)))
    for chunk, found in each(mine_chunk, chunks, model, min(processes, len(chunks))):
        yield from zip(chunk, found, strict=True)


def write(path: str | Path, rows: Iterable[tuple[str, Sequence[Phrase]]], parser: str) -> MiningCounts:
    """Write `phrases.parquet` (schema in docs/architecture.md) chunk by chunk; `parser` is kept as metadata."""
    counts = MiningCounts()
    schema = SCHEMA.with_metadata({"parser": parser})
    with atomic(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for part in batched(rows, CHUNK):
            for _, phrases in part:
                counts.add(phrases)
            records = [{"text": text, "tuples": [_record(p) for p in phrases]} for text, phrases in part]
            writer.write_table(pa.Table.from_pylist(records, schema=schema))
    return counts


def read(path: str | Path) -> dict[str, tuple[Phrase, ...]]:
    """Text -> phrases. Raises InputError where the file is missing, damaged or of another schema."""
    remedy = "Mine again: vlp phrases mine."
    if not Path(path).exists():
        raise InputError(path, "the file is missing.", remedy)
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(path, f"not a whole Parquet file ({error}).", remedy) from error
    if not table.schema.equals(SCHEMA):
        raise InputError(path, f"the columns are not {', '.join(SCHEMA.names)} of the known types.", remedy)
    found: dict[str, tuple[Phrase, ...]] = {}
    for batch in table.to_batches(max_chunksize=CHUNK):
        for text, tuples in zip(batch["text"].to_pylist(), batch["tuples"].to_pylist(), strict=True):
            found[text] = tuple(_phrase(t) for t in tuples)
    return found


def _record(phrase: Phrase) -> dict[str, Any]:
    words = [{"start": start, "end": end} for start, end in phrase.words]
    return {"kind": phrase.kind, "parts": list(phrase.parts), "words": words}


def _phrase(record: Mapping[str, Any]) -> Phrase:
    words = tuple((w["start"], w["end"]) for w in record["words"])
    return Phrase(record["kind"], tuple(record["parts"]), words)


def each(
    work: Callable[[list[str]], T], parts: Iterable[list[str]], model: str, processes: int
) -> Iterator[tuple[list[str], T]]:
    """Every part with what `work` makes of it in a process that has the parser, in order; few parts wait at a time."""
    waiting: deque[tuple[list[str], Task[T]]] = deque()
    with workers(model, processes) as submit:
        for part in parts:
            waiting.append((part, submit(work, part)))
            while len(waiting) > 2 * processes:
                done, task = waiting.popleft()
                yield done, task.get()
        while waiting:
            done, task = waiting.popleft()
            yield done, task.get()


class Task(Protocol[T_co]):
    """Work given to a worker; `get` waits for the result, or raises what the work raised."""

    def get(self) -> T_co: ...


@dataclass(frozen=True)
class _Later(Generic[T]):
    """Work of this process itself: done when its result is asked for."""

    work: Callable[[list[str]], T]
    texts: list[str]

    def get(self) -> T:
        return self.work(self.texts)


@contextlib.contextmanager
def workers(model: str, processes: int) -> Iterator[Submit]:
    """A function that gives (work, texts) to a process that has the parser; one process is this one."""
    if processes <= 1:
        _start(model)
        yield _Later
        return
    import multiprocessing

    # A child process reads this when it loads its linear algebra: one thread each, whatever the caller's setting.
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        with multiprocessing.get_context("spawn").Pool(processes, _start_child, (model,)) as pool:
            yield lambda work, texts: pool.apply_async(work, (texts,))
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _start(model: str) -> None:
    global _parser
    _parser = open_parser(model)


def _start_child(model: str) -> None:
    # thinc imports torch where it can; the parser has no use for it, and it doubles the start and the memory.
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]
    _start(model)


def parser() -> Parser:
    """The parser of a process that `workers` started."""
    assert _parser is not None
    return _parser


def mine_chunk(chunk: list[str]) -> list[tuple[Phrase, ...]]:
    """The phrases of each text, in a process that `workers` started."""
    return [graph.phrases() for graph in parser().pipe(chunk)]
