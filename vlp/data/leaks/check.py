"""Which images of pre-training are images of an evaluation, and which of these are left out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vlp.config.tasks import known
from vlp.data.leaks import seen
from vlp.data.leaks.identity import Hashed, data_set, of_images, read, read_parquet
from vlp.data.leaks.match import Match, matches
from vlp.data.tables import read_table
from vlp.errors import InputError
from vlp.files import atomic, write_json

TASKS: dict[str, str] = {}
"""Table with an evaluation's truth -> its task; the first of several."""
for _facts in known().values():
    TASKS.setdefault(_facts.table, _facts.name)
POLICIES: dict[str, tuple[str, ...]] = {
    "none": (),
    # Karpathy's val and test of COCO, val and test of Flickr30k: the tasks whose images these are.
    "as_paper": tuple(facts.table for facts in known().values() if facts.excluded_by_paper),
    "strict": tuple(TASKS),
}
"""Policy -> tables whose val and test images pre-training must not have."""
SHARED = pa.schema(
    [
        ("image_id", pa.string()),
        ("task", pa.string()),
        ("split", pa.string()),
        ("evaluated", pa.string()),
        ("by", pa.string()),
        ("distance", pa.int32()),
        ("excluded", pa.bool_()),
    ]
)
"""Each image of pre-training that is an image of an evaluation; `excluded`: the policy leaves it out."""
SHARED_FILE = "shared.parquet"


@dataclass(frozen=True)
class Evaluation:
    """The images of one task, data set and split."""

    table: str
    dataset: str
    split: str

    @property
    def task(self) -> str:
        return TASKS[self.table]


@dataclass(frozen=True)
class Line:
    """One row of the table per corpus and evaluation."""

    corpus: str
    evaluation: Evaluation
    images: int
    """Of the evaluation."""
    shared: int
    """Train images of the corpus that are one of them."""
    excluded: int
    by: dict[str, int]
    """How they were found -> number."""


@dataclass(frozen=True)
class Leaks:
    policy: str
    lines: list[Line]
    shared: list[dict[str, Any]]
    """Rows of SHARED."""

    @property
    def excluded(self) -> set[str]:
        return {row["image_id"] for row in self.shared if row["excluded"]}


def evaluations(tables: Path) -> dict[Evaluation, set[str]]:
    """The image ids of each val and test split of each task's table; only those that have any."""
    found: dict[Evaluation, set[str]] = defaultdict(set)
    for table in TASKS:
        rows = read_table(tables, table)
        for image_id, split in zip(rows["image_id"].to_pylist(), rows["split"].to_pylist(), strict=True):
            if split != "train":
                found[Evaluation(table, data_set(image_id), split)].add(image_id)
    return dict(found)


def find(tables: Path, identity: Path, policy: str, model: Path | None = None) -> Leaks:
    """Compare the images that pre-training may use, all of split train, with those of every evaluation.

    Args:
        model: a model directory: the images it was pre-trained on, instead.

    Raises:
        InputError: the directory does not say what it has seen.
    """
    known = read(identity)
    if model is None:
        used = known.filter(pa.array([split == "train" for split in known["split"].to_pylist()], pa.bool_()))
    else:
        used = seen.of_phases(model, {seen.PRETRAINING})
    if used is None:
        raise InputError(model or "", "the model does not say what it has seen.", "Train it with --leaks.")
    tests = evaluations(tables)
    every = set().union(*tests.values())
    pairs = matches(used, of_images(known, every, identity))
    of: dict[str, list[Match]] = defaultdict(list)
    for pair in pairs:
        of[pair.evaluated].append(pair)
    lines, shared = [], []
    corpora = sorted({data_set(i) for i in used["image_id"].to_pylist()})
    for test in sorted(tests, key=lambda e: (e.task, e.dataset, e.split)):
        here = [pair for image_id in sorted(tests[test]) for pair in of[image_id]]
        removed = test.table in POLICIES[policy]
        shared += [_row(pair, test, removed) for pair in here]
        for corpus in corpora:
            ours = {p.used: p.by for p in here if data_set(p.used) == corpus}
            counts = dict(sorted(Counter(ours.values()).items()))
            lines.append(Line(corpus, test, len(tests[test]), len(ours), len(ours) if removed else 0, counts))
    return Leaks(policy, lines, shared)


def _row(pair: Match, test: Evaluation, removed: bool) -> dict[str, Any]:
    return {
        "image_id": pair.used,
        "task": test.task,
        "split": test.split,
        "evaluated": pair.evaluated,
        "by": pair.by,
        "distance": pair.distance,
        "excluded": removed,
    }


def write(folder: Path, leaks: Leaks, hashed: Hashed) -> None:
    """Write shared.parquet, and leaks.json: the table per corpus and evaluation, and what became of the hashes."""
    with atomic(folder / SHARED_FILE) as temporary:
        pq.write_table(pa.Table.from_pylist(leaks.shared, schema=SHARED), temporary)
    table = [asdict(line) for line in leaks.lines]
    value = {"policy": leaks.policy, "excluded": len(leaks.excluded), "table": table, "hashes": asdict(hashed)}
    write_json(folder / "leaks.json", value)


def excluded(folder: Path) -> set[str]:
    """The image ids that pre-training leaves out, of the folder that `vlp data leaks` wrote.

    Raises:
        InputError: it is missing or damaged.
    """
    table = read_parquet(folder / SHARED_FILE, SHARED, "Make it again: vlp data leaks.")
    rows = zip(table["image_id"].to_pylist(), table["excluded"].to_pylist(), strict=True)
    return {image_id for image_id, out in rows if out}


def require_none(leaks: Leaks, file: Path) -> None:
    """
    Args:
        file: where the whole list stands.

    Raises:
        InputError: pre-training has an image that the policy keeps out; the message lists them.
    """
    left = [row for row in leaks.shared if row["excluded"]]
    if not left:
        return
    listed = "".join(f"\n  {describe(row)}" for row in left[:50])
    more = f"\n  and {len(left) - 50} more rows" if len(left) > 50 else ""
    raise InputError(
        file,
        f"{len(leaks.excluded)} images of pre-training are images of evaluations:{listed}{more}\n",
        "Set data.exclusion.on_leak: remove, or take them out of the data.",
    )


def describe(row: Mapping[str, Any]) -> str:
    """`gqa/2370799 is coco/42 (retrieval test; hash, 2 bits)`"""
    how = row["by"] if row["distance"] is None else f"{row['by']}, {row['distance']} bits"
    return f"{row['image_id']} is {row['evaluated']} ({row['task']} {row['split']}; {how})"
