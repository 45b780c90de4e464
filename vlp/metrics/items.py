"""Which items a predictions file must have. The file says it (`Items`, in its metadata), the table with the truth says
it; a file in which they are not whole, each once, is refused: its numbers would look right."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vlp.config.tasks.base import Facts
from vlp.data.tables import QUESTION, SCHEMAS, read_table, table_path
from vlp.errors import InputError
from vlp.files import to_json
from vlp.metrics.measure import REMEDY

if TYPE_CHECKING:
    import pyarrow as pa

KEY = b"items"
"""Of the metadata of a predictions file."""
PAIRS = ("query_id", "candidate_id")
"""Columns of predictions that rank: their items are texts and images."""
ANOTHER = "Evaluate it with the tables that it was made with, or predict again: vlp task predict."


def digest(ids: Iterable[str]) -> str:
    """Of a set of ids, in whichever order."""
    return hashlib.sha256(to_json(sorted(set(ids))).encode()).hexdigest()


@dataclass(frozen=True)
class Items:
    """What a predictions file says of its items."""

    dataset: str
    split: str
    count: int
    sha256: str
    """`digest` of the ids."""
    table_count: int
    """The data set's items of this split in the table: more than `count` where some have no regions, or with
    `minival`."""
    table_sha256: str
    rows: int
    """Of the file; of a ranking not one for each item."""

    def metadata(self) -> dict[bytes, bytes]:
        return {KEY: to_json(asdict(self)).encode()}


def said(path: Path, predictions: pa.Table) -> Items | None:
    """What the file says; None: it is of an earlier version, or made elsewhere.

    Raises:
        InputError: what it says cannot be read.
    """
    found = (predictions.schema.metadata or {}).get(KEY)
    if found is None:
        return None
    try:
        return Items(**json.loads(found))
    except (TypeError, ValueError) as error:
        raise InputError(path, f"its metadata `items` cannot be read ({error}).", REMEDY) from error


class Truth:
    """The items of a task's table."""

    def __init__(self, facts: Facts, tables: Path) -> None:
        """Raises InputError: the table is missing or damaged."""
        self.file, self.ranks = table_path(tables, facts.table), set(PAIRS) <= set(facts.columns)
        table = read_table(tables, facts.table)
        if self.ranks and "kind" in table.column_names:
            import pyarrow.compute as pc

            question = pc.fill_null(pc.equal(table["kind"], QUESTION), False)  # pyright: ignore
            table = table.filter(pc.invert(question))  # pyright: ignore
        self.key = SCHEMAS[facts.table].names[0]
        columns = (table[name].to_pylist() for name in (self.key, "image_id", "split"))
        self.of: dict[str, tuple[str, str]] = {}
        """Id -> data set and split."""
        self.image_of: dict[str, str] = {}
        """Of the texts; not of the images that are ranked."""
        for name, image, split in zip(*columns, strict=True):
            self.of[name] = (image.partition("/")[0], split)
            self.image_of[name] = image
        if self.ranks:
            self.of |= {self.image_of[name]: where for name, where in list(self.of.items())}

    def ids(self, dataset: str, split: str) -> list[str]:
        return [name for name, where in self.of.items() if where == (dataset, split)]

    def items(self, ids: Collection[str], dataset: str, split: str, rows: int) -> Items:
        """What a file of these items has to say."""
        there = self.ids(dataset, split)
        return Items(dataset, split, len(set(ids)), digest(ids), len(there), digest(there), rows)


def shown(ids: Iterable[str]) -> str:
    """The first three, and how many more."""
    names = sorted(ids)
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")


def demand_once(path: str | Path, ids: Iterable[str], remedy: str = REMEDY) -> None:
    """Raises InputError: an id stands twice."""
    doubled = [name for name, count in Counter(ids).items() if count > 1]
    if doubled:
        raise InputError(path, f"holds ids more than once: {shown(doubled)}.", remedy)


def demand_whole(path: Path, told: Items | None, ids: Collection[str], truth: Truth) -> list[str]:
    """The ids that the table has of the file's data set and split.

    Args:
        told: what the file says of itself.
        ids: that it has.

    Raises:
        InputError: items are missing, or not of the table, or of another split; or the table was another one.
    """
    file, own = truth.file.name, set(ids)
    dataset, split = (told.dataset, told.split) if told else _most_frequent(path, own, truth)
    wanted = truth.ids(dataset, split)
    of = f"the {split} items of {dataset} in {file}"
    if told and (told.table_count, told.table_sha256) != (len(wanted), digest(wanted)):
        problem = f"was made for another table: it had {told.table_count:,} items, {of} are {len(wanted):,}"
        problem += "." if told.table_count != len(wanted) else ", with other ids."
        raise InputError(path, problem, ANOTHER)
    if foreign := own - set(wanted):
        raise InputError(path, f"has ids that are not among {of}: {shown(foreign)}.", ANOTHER)
    count, lacking = told.count if told else len(wanted), set(wanted) - own
    if len(own) != count:
        whole = "" if count == len(wanted) else f" (the file says that it has {count:,} of {len(wanted):,})"
        problem = f"has {len(own):,} of {count:,} items{whole}; of {of} it lacks {shown(lacking)}."
        raise InputError(path, problem, REMEDY)
    if told and told.sha256 != digest(own):
        raise InputError(path, f"has other items than it says; of {of} it lacks {shown(lacking)}.", REMEDY)
    return wanted


def demand_as_said(path: str | Path, told: Items | None, ids: Collection[str]) -> None:
    """Without the table. Raises InputError: the file has not the items that it says it has."""
    if told and (told.count, told.sha256) != (len(set(ids)), digest(ids)):
        problem = f"has {len(set(ids)):,} items and says that it has {told.count:,}"
        raise InputError(path, problem + ("." if told.count != len(set(ids)) else ", others."), REMEDY)


def demand_rows(path: Path, told: Items | None, rows: int) -> None:
    """Raises InputError: the file has not as many rows as it says."""
    if told and told.rows != rows:
        raise InputError(path, f"has {rows:,} rows and says that it has {told.rows:,}.", REMEDY)


def _most_frequent(path: Path, ids: Collection[str], truth: Truth) -> tuple[str, str]:
    """Data set and split of most of the ids: the others are foreign."""
    found = Counter(truth.of[name] for name in ids if name in truth.of)
    if not found:
        raise InputError(path, f"{truth.file.name} knows none of its {len(ids):,} ids: {shown(ids)}.", ANOTHER)
    return min(found, key=lambda where: (-found[where], where))
