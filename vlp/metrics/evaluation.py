"""Predictions -> measures: every number with its interval, what guessing gets, and how many items it is over.

Shares are in percent, as the papers print them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vlp.config.tasks import known
from vlp.config.tasks.entailment import LABELS as ENTAILMENT_LABELS
from vlp.data.tables import read_table
from vlp.errors import InputError
from vlp.metrics import bootstrap, entailment, grounding, retrieval, vqa

if TYPE_CHECKING:
    import pyarrow as pa

    from vlp.regions.store import RegionStore

COLUMNS = {name: facts.columns for name, facts in known().items()}
PRIOR_PHRASES = 20_000
"""So many train phrases choose the box prior."""
_REMEDY = "Predict again: vlp task predict."


@dataclass(frozen=True)
class Measure:
    protocol: str
    metric: str
    value: float
    low: float | None
    high: float | None
    chance: float | None
    n: int
    blind: float | None = None
    """What does not look at the image's content gets; only grounding's box prior is known here."""


def read_predictions(path: str | Path, task: str) -> pa.Table:
    """Raises InputError: the file is missing, damaged, empty, or lacks a column of the contract."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    if not path.exists():
        raise InputError(path, "the predictions are missing.", _REMEDY)
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(path, f"not a whole Parquet file ({error}).", _REMEDY) from error
    lacking = [name for name in COLUMNS[task] if name not in table.column_names]
    if lacking:
        raise InputError(path, f"lacks the column {', '.join(lacking)}.", _REMEDY)
    if not table.num_rows:
        raise InputError(path, "holds no row.", _REMEDY)
    return table


def task_of(path: str | Path) -> str:
    """The task whose columns a predictions file has.

    Raises:
        InputError: the file cannot be read, or is of no task.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = set(pq.read_schema(path).names)
    except FileNotFoundError as error:
        raise InputError(path, "the predictions are missing.", _REMEDY) from error
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(path, f"not a whole Parquet file ({error}).", _REMEDY) from error
    for task, columns in COLUMNS.items():
        if names.issuperset(columns):
            return task
    raise InputError(path, f"has the columns of no task ({', '.join(sorted(names))}).", _REMEDY)


def evaluate(task: str, path: str | Path, tables: str | Path, regions: RegionStore | None = None) -> list[Measure]:
    """All measures of a predictions file.

    Args:
        task: one of `COLUMNS`.
        tables: the experiment's tables; its train split gives the priors that `chance` follows.
        regions: for grounding, the store the model chose from: gives the box prior and the merged rule's chance.
    """
    predictions = read_predictions(path, task)
    if task == "retrieval":
        return list(_retrieval(Path(path), predictions, tables))
    if task == "vqa":
        return list(_vqa(Path(path), predictions, tables))
    if task == "entailment":
        return list(_entailment(predictions, tables))
    if task == "referring":
        return list(_referring(predictions))
    return list(_grounding(predictions, tables, regions))


def _retrieval(path: Path, predictions: pa.Table, tables: str | Path) -> Iterator[Measure]:
    captions = read_table(tables, "captions").select(["caption_id", "image_id"]).to_pydict()
    owner = dict(zip(captions["caption_id"], captions["image_id"], strict=True))
    kept = retrieval.directions(predictions)
    _check_retrieval(path, predictions, kept, owner)
    folds = int(np.asarray(predictions["fold"]).max()) if "fold" in predictions.column_names else 0
    for coarse, prefix in retrieval.orders(predictions):
        parts = [retrieval.directions(predictions, fold) for fold in range(folds + 1)]
        whole, *each = [retrieval.tally(part, owner, coarse=coarse) for part in parts]
        protocols = ["unimodal"] * 2 if coarse else [reranking(predictions, parts[n]) for n in (0, -1)]
        yield from _recalls(protocols[0], retrieval.recalls_with_intervals([whole], prefix))
        if each:
            size = len(np.unique(parts[1]["i2t"].query))
            protocol = f"{protocols[1]}, mean of {folds} folds of {size} images"
            yield from _recalls(protocol, retrieval.recalls_with_intervals(each, prefix))
        if "pruned" in predictions.column_names and not coarse and protocols[0] != "exhaustive":
            every = retrieval.tally(retrieval.directions(predictions, exhaustive=True), owner)
            yield from _recalls("all pairs scored", retrieval.recalls_with_intervals([every]))
            yield from _recalls("all pairs scored - re-ranked: lost by pruning", retrieval.lost(whole, every))


def _recalls(protocol: str, rows: Iterable[retrieval.Recall]) -> Iterator[Measure]:
    for row in rows:
        yield Measure(protocol, row.metric, row.value, row.low, row.high, row.chance, row.n)


def reranking(predictions: pa.Table, kept: Mapping[str, retrieval.Candidates]) -> str:
    """How many candidates of each query were ranked: `exhaustive` where that is all there are."""
    if not retrieval.has_coarse(predictions):
        return "exhaustive"
    per_query = {d: int(np.unique(c.query, return_counts=True)[1].max()) for d, c in kept.items()}
    if all(per_query[d] == len(np.unique(kept[other].query)) for d, other in (("i2t", "t2i"), ("t2i", "i2t"))):
        return "exhaustive"
    return f"re-ranked k_c={per_query['i2t']} k_i={per_query['t2i']}"


def _check_retrieval(
    path: Path, predictions: pa.Table, kept: Mapping[str, retrieval.Candidates], owner: Mapping[str, str]
) -> None:
    metadata = {k.decode(): v.decode() for k, v in (predictions.schema.metadata or {}).items()}
    for direction, key in (("i2t", "num_images"), ("t2i", "num_texts")):
        queries = len(np.unique(kept[direction].query))
        if key in metadata and queries != int(metadata[key]):
            raise InputError(path, f"{queries} {direction} queries, where {key} is {metadata[key]}.", _REMEDY)
        for name in ("coarse", "score"):
            bad = ~np.isfinite(getattr(kept[direction], name))
            if bad.any():
                row = f"query {kept[direction].query[bad][0]}"
                raise InputError(path, f"a {name} is not a finite number.", _REMEDY, row=row)
    for caption in np.unique(kept["t2i"].query).tolist():
        if caption not in owner:
            raise InputError(path, "the captions table does not know this caption.", _REMEDY, row=caption)


def _vqa(path: Path, predictions: pa.Table, tables: str | Path) -> Iterator[Measure]:
    """Chance: always the answer that is most frequent in train, overall or for the type. Questions whose answers only
    an evaluation server has are left out."""
    train = read_table(tables, "questions", "train").select(["answer_type", "answers"]).to_pylist()
    rows = [row for row in predictions.to_pylist() if row["answers"]]
    if not rows:
        raise InputError(path, "no question has an answer here.", "Send it: vlp results submission, then record.")
    kinds = sorted({row["answer_type"] for row in rows})
    for kind in [None, *kinds]:
        here = [row for row in rows if kind in (None, row["answer_type"])]
        guess = vqa.most_frequent(row["answers"] for row in train if kind in (None, row["answer_type"]))
        values = [100 * vqa.accuracy(row["answer"], row["answers"]) for row in here]
        chance = None if guess is None else float(np.mean([100 * vqa.accuracy(guess, r["answers"]) for r in here]))
        metric = "accuracy" if kind is None else f"accuracy ({kind})"
        yield _mean("10-annotator accuracy", metric, values, [row["image_id"] for row in here], chance)
    if without := predictions.num_rows - len(rows):
        yield Measure("left out", "questions without answers", float(without), None, None, None, predictions.num_rows)


def _entailment(predictions: pa.Table, tables: str | Path) -> Iterator[Measure]:
    """Chance: always train's most frequent label; for a class: one of three labels at random."""
    rows = predictions.to_pylist()
    guess = entailment.majority(read_table(tables, "entailment", "train")["label"].to_pylist())
    chance = None if guess is None else 100 * float(np.mean([row["label"] == guess for row in rows]))
    for label in (None, *ENTAILMENT_LABELS):
        here = [row for row in rows if label in (None, row["label"])]
        if not here:
            continue
        values = [100.0 * (row["prediction"] == row["label"]) for row in here]
        metric, luck = ("accuracy", chance) if label is None else (f"accuracy ({label})", 100 / len(ENTAILMENT_LABELS))
        yield _mean("3-way", metric, values, [row["image_id"] for row in here], luck)


def _grounding(predictions: pa.Table, tables: str | Path, regions: RegionStore | None) -> Iterator[Measure]:
    """Chance: a random one of the regions; blind: the box prior that is best on train."""
    everything = predictions.select(list(COLUMNS["grounding"])).to_pylist()
    rows = [row for row in everything if row["boxes"]]
    without = len(everything) - len(rows)
    if not rows:
        return
    images = [row["image_id"] for row in rows]
    for rule in grounding.RULES:
        protocol = f"IoU > 0.5, {rule} box"
        values = 100.0 * grounding.hits(predictions, rule)
        random, covered = _reach(rows, rule, regions)
        prior = None if regions is None else _box_prior(rows, tables, rule, regions)
        chance = None if random is None else 100 * float(np.mean(random))
        measure = _mean(protocol, "accuracy", values, images, chance)
        yield replace(measure, blind=None if prior is None else prior.value)
        if covered is not None:
            yield _mean(protocol, "upper bound", 100.0 * covered, images, None)
        if prior is not None:
            yield prior
        names = grounding.readings_of(predictions)
        for i, name in enumerate(names if len(names) > 1 else []):
            metric = f"accuracy by {name}{' (chosen on val)' if i == 0 else ''}"
            yield _mean(
                protocol, metric, 100.0 * grounding.hits(grounding.boxes_of(predictions, i), rule), images, chance
            )
        if rule == "any":
            for kind in sorted({row["phrase_type"] for row in rows}):
                at = [i for i, row in enumerate(rows) if row["phrase_type"] == kind]
                luck = None if random is None else 100 * float(np.mean(random[at]))
                yield _mean(protocol, f"accuracy ({kind})", values[at], [images[i] for i in at], luck)
    yield Measure("left out", "phrases without box", float(without), None, None, None, len(everything))


def _referring(predictions: pa.Table) -> Iterator[Measure]:
    """Chance: a random one of the regions. testA and testB are parts of `test`, and are told apart."""
    rows = predictions.select(list(COLUMNS["referring"])).to_pylist()
    hits, protocol = grounding.hits(predictions, strict=False), "IoU >= 0.5"
    parts = sorted({row["partition"] for row in rows})
    for part in [None, *(parts if len(parts) > 1 else [])]:
        at = [i for i, row in enumerate(rows) if part in (None, row["partition"])]
        images, name = [rows[i]["image_id"] for i in at], "" if part is None else f" ({part})"
        luck = 100 * float(np.mean([rows[i]["random_hit"] for i in at]))
        yield _mean(protocol, f"accuracy{name}", 100.0 * hits[at], images, luck)
        yield _mean(protocol, f"upper bound{name}", [100.0 * rows[i]["covered"] for i in at], images, None)


def _reach(rows: Sequence[Mapping[str, Any]], rule: grounding.Rule, regions: RegionStore | None) -> tuple[Any, Any]:
    """Share of a phrase's regions that are right [N], and whether any is [N]; None where it cannot be known."""
    if rule == "any":
        return np.array([row["random_hit"] for row in rows]), np.array([row["covered"] for row in rows], dtype=bool)
    if regions is None:
        return None, None
    right = [
        grounding.right(regions.regions(row["image_id"], row["num_regions"]).boxes, row["boxes"], rule) for row in rows
    ]
    return np.array([r.mean() if len(r) else 0.0 for r in right]), np.array([r.any() for r in right], dtype=bool)


def _box_prior(
    rows: Sequence[Mapping[str, Any]], tables: str | Path, rule: grounding.Rule, regions: RegionStore
) -> Measure | None:
    limit = max(row["num_regions"] for row in rows)
    train = read_table(tables, "phrase_boxes", "train").select(["image_id", "boxes"]).slice(0, PRIOR_PHRASES)
    return box_prior_accuracy(train.to_pylist(), rows, rule, regions, limit)


def box_prior_accuracy(
    train: Iterable[Mapping[str, Any]],
    test: Sequence[Mapping[str, Any]],
    rule: grounding.Rule,
    regions: RegionStore,
    limit: int,
) -> Measure | None:
    """The accuracy on `test` of the one way to choose a box without the phrase that is best on `train`.

    Args:
        train, test: records with image_id and boxes; those without boxes or outside the store are left out.
        limit: the best so many regions of an image, as the model reads them.

    Returns:
        None if one of the two has no usable record.
    """
    chosen = _prior_hits(train, rule, regions, limit)[0]
    hits, images = _prior_hits(test, rule, regions, limit)
    if not len(chosen) or not len(hits):
        return None
    best = int(chosen.mean(axis=0).argmax())
    metric = f"box prior ({grounding.PRIORS[best]})"
    return _mean(f"IoU > 0.5, {rule} box", metric, 100.0 * hits[:, best], images, None)


def _prior_hits(
    records: Iterable[Mapping[str, Any]], rule: grounding.Rule, regions: RegionStore, limit: int
) -> tuple[Any, list[str]]:
    """[N, priors] hits of the N usable records, and their images."""
    boxes: dict[str, Any] = {}
    found, images = [], []
    for record in records:
        image = record["image_id"]
        if not record["boxes"] or image not in regions:
            continue
        if image not in boxes:
            boxes[image] = grounding.prior_boxes(regions.regions(image, limit).boxes, regions.image_size(image))
        found.append(grounding.right(boxes[image], record["boxes"], rule))
        images.append(image)
    return np.array(found, dtype=bool), images


def _mean(protocol: str, metric: str, values: Any, images: Sequence[str], chance: float | None) -> Measure:
    low, high = bootstrap.interval(values, images)
    return Measure(protocol, metric, float(np.mean(values)), low, high, chance, len(images))
