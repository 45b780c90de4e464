"""How close the regions of one store are to those of another: does an extraction give what published features hold?"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlp.errors import InputError
from vlp.files import atomic
from vlp.images.decode import ImageRecord, Skipped
from vlp.images.names import both_sides
from vlp.progress import Meter
from vlp.regions.geometry import iou_matrix
from vlp.regions.store import RegionStore
from vlp.regions.vinvl_tsv import import_tsv

MATCHED = 0.5
"""Two regions with a smaller IoU are not the same region."""


class Row(NamedTuple):
    """One number of a comparison."""

    metric: str
    value: float
    """NaN: nothing to take it of"""
    n: int
    """What it is taken over: images, regions or pairs, as the metric says"""


@dataclass
class Comparison:
    """Two stores beside each other, over the images that both have."""

    rows: list[Row]
    farthest: list[tuple[str, float]]
    """Images with the smallest share of the reference's regions found, and that share"""


def _numbers() -> array[float]:
    return array("d")


@dataclass
class _Sums:
    """What is gathered image by image: 32 bytes a pair of regions, little beside their features."""

    images: int = 0
    ours: int = 0
    theirs: int = 0
    ids: list[str] = field(default_factory=list)
    found: array[float] = field(default_factory=_numbers)
    iou: array[float] = field(default_factory=_numbers)
    cosine: array[float] = field(default_factory=_numbers)
    distance: array[float] = field(default_factory=_numbers)
    same_class: array[float] = field(default_factory=_numbers)
    tags: array[float] = field(default_factory=_numbers)
    first_tag: array[float] = field(default_factory=_numbers)


def match_greedily(a: ArrayLike, b: ArrayLike, threshold: float = MATCHED) -> list[tuple[int, int, float]]:
    """Pairs (row of `a` [N,4], row of `b` [M,4], IoU), the largest IoU first; each row is in one pair at most.

    Pairs below `threshold` are none; of equal IoUs the smaller rows come first.
    """
    overlap = iou_matrix(a, b)
    pairs: list[tuple[int, int, float]] = []
    used_a, used_b = set[int](), set[int]()
    for flat in np.argsort(-overlap, axis=None, kind="stable"):
        i, j = divmod(int(flat), overlap.shape[1])
        if overlap[i, j] < threshold or len(pairs) == min(overlap.shape):
            break
        if i not in used_a and j not in used_b:
            used_a.add(i)
            used_b.add(j)
            pairs.append((i, j, float(overlap[i, j])))
    return pairs


def cosine(a_ND: ArrayLike, b_ND: ArrayLike) -> NDArray[np.float64]:
    """Cosine of each row with its partner -> [N] in [-1,1]; NaN where one of them is 0."""
    a, b = np.asarray(a_ND, np.float64), np.asarray(b_ND, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


def distance(a_ND: ArrayLike, b_ND: ArrayLike) -> NDArray[np.float64]:
    """Length of a - b beside that of b, row by row -> [N]; tells what a cosine cannot: another scale. NaN for b = 0."""
    a, b = np.asarray(a_ND, np.float64), np.asarray(b_ND, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.linalg.norm(a - b, axis=1) / np.linalg.norm(b, axis=1)


def compare(store: RegionStore, reference: RegionStore, limit: int | None = None, shown: int = 5) -> Comparison:
    """The regions of `store` beside those of `reference`.

    Rows of result, in this order:
        images: in both stores (n: those of `store`); images_missing: of the reference's, not in `store`.
        regions, regions_reference: a mean image has (n: images).
        found: share of the reference's regions that some region of ours matches (n: regions of the reference);
        extra: share of ours that match none (n: regions of ours).
        iou, cosine, distance: mean over the matched pairs; cosine_low: 5th percentile.
        class_agreement: share of the pairs, both with a class, whose class names are the same.
        tags_jaccard: |both| / |either| of the tags, mean over images that have any; tag_first_agreement: share of
        images, both with tags, where the first tag is the same.

    Args:
        limit: only the best so many regions of an image, as a model reads them.
        shown: how many of the farthest images are named.

    Raises InputError: no image is in both, their features have different sizes, or an image has two sizes.
    """
    if store.feature_size != reference.feature_size:
        problem = f"its features have {reference.feature_size} numbers, those of {store.path} {store.feature_size}."
        raise InputError(reference.path, problem, "Compare stores of the same detector.")
    both = [image_id for image_id in store.image_ids if image_id in reference]
    if not both:
        sides = both_sides(reference.image_ids, store.image_ids)
        problem = f"it has none of the {len(store)} images of {store.path} ({sides})."
        raise InputError(reference.path, problem, "The ids must be the same, with the data set's name in front.")
    sums = _Sums()
    with Meter("compare", len(both), "images") as meter:
        for image_id in both:
            _add(sums, store, reference, image_id, limit)
            meter.advance(1)
    missing = len(reference) - len(both)
    order = np.argsort(sums.found, kind="stable")[:shown]
    return Comparison(
        rows=[
            Row("images", len(both), len(store)),
            Row("images_missing", missing, len(reference)),
            *_rows(sums),
        ],
        farthest=[(sums.ids[at], sums.found[at]) for at in order],
    )


def _add(sums: _Sums, store: RegionStore, reference: RegionStore, image_id: str, limit: int | None) -> None:
    size, other = store.image_size(image_id), reference.image_size(image_id)
    if size != other:
        problem = f"the image has {other[0]} x {other[1]} pixels, in {store.path} {size[0]} x {size[1]}."
        raise InputError(reference.path, problem, "Make both of the same image files.", row=image_id)
    ours, theirs = store.regions(image_id, limit), reference.regions(image_id, limit)
    pairs = match_greedily(ours.boxes, theirs.boxes)
    a, b = [i for i, _, _ in pairs], [j for _, j, _ in pairs]
    sums.images += 1
    sums.ours += len(ours)
    sums.theirs += len(theirs)
    if len(theirs):
        sums.ids.append(image_id)
        sums.found.append(len(pairs) / len(theirs))
    sums.iou.extend(overlap for _, _, overlap in pairs)
    sums.cosine.extend(cosine(ours.features[a], theirs.features[b]))
    sums.distance.extend(distance(ours.features[a], theirs.features[b]))
    for i, j in zip(ours.classes[a].tolist(), theirs.classes[b].tolist(), strict=True):
        if i >= 0 and j >= 0:
            sums.same_class.append(store.class_names[i] == reference.class_names[j])
    tags, other_tags = store.tags(image_id), reference.tags(image_id)
    if tags or other_tags:
        sums.tags.append(len(set(tags) & set(other_tags)) / len(set(tags) | set(other_tags)))
    if tags and other_tags:
        sums.first_tag.append(tags[0] == other_tags[0])


def _rows(sums: _Sums) -> Iterator[Row]:
    pairs = len(sums.iou)
    yield Row("regions", _share(sums.ours, sums.images), sums.images)
    yield Row("regions_reference", _share(sums.theirs, sums.images), sums.images)
    yield Row("found", _share(pairs, sums.theirs), sums.theirs)
    yield Row("extra", _share(sums.ours - pairs, sums.ours), sums.ours)
    yield _mean("iou", sums.iou)
    yield _mean("cosine", sums.cosine)
    known = _known(sums.cosine)
    yield Row("cosine_low", float(np.percentile(known, 5)) if len(known) else float("nan"), len(known))
    yield _mean("distance", sums.distance)
    yield _mean("class_agreement", sums.same_class)
    yield _mean("tags_jaccard", sums.tags)
    yield _mean("tag_first_agreement", sums.first_tag)


def _known(values: array[float]) -> NDArray[np.float64]:
    numbers = np.array(values, np.float64)
    return numbers[~np.isnan(numbers)]


def _mean(metric: str, values: array[float]) -> Row:
    known = _known(values)
    return Row(metric, float(known.mean()) if len(known) else float("nan"), len(known))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


@contextmanager
def open_reference(path: Path, store: RegionStore) -> Iterator[tuple[RegionStore, list[dict[str, str]]]]:
    """The store at `path`, or one made of VinVL/Oscar files for as long as the block runs; and what was skipped.

    Args:
        path: a region store; or features.tsv (its name may be another), or its folder, with predictions.tsv in it. Of
            TSV files only the images of `store` are read, in its sizes; their ids are those of `store` after the data
            set's name.

    Raises InputError: neither; or as `import_tsv`.
    """
    if path.suffix == ".tsv" and not path.is_file():
        raise InputError(path, "the file is missing.", "Give the old features.tsv, or a region store.")
    if path.suffix != ".tsv" and not (path / "features.tsv").exists():
        yield RegionStore(path), []
        return
    prefixes = {image_id.split("/", 1)[0] for image_id in store.image_ids}
    if len(prefixes) != 1:
        problem = f"the images are of {len(prefixes)} data sets, the TSV files of one."
        raise InputError(store.path, problem, "Compare one data set at a time.")
    records = [ImageRecord(i, Path(i), *store.image_size(i), "train") for i in store.image_ids]
    skipped = Skipped("skip")
    with TemporaryDirectory(prefix="vlp-compare-") as temporary:
        made = Path(temporary) / "reference.h5"
        import_tsv(path, records, prefixes.pop(), made, skipped, max_lost=1)
        yield RegionStore(made), skipped.images


def write_csv(path: Path, rows: Iterable[Row]) -> None:
    """metric, value (six decimals; empty: NaN), n."""
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(Row._fields)
        table.writerows((r.metric, "" if np.isnan(r.value) else f"{r.value:.6f}", r.n) for r in rows)
