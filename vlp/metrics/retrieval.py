"""R@K of the re-ranked and of the coarse order, RSUM (paper 4.2.1, A.3.1), and what guessing gets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import comb
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vlp.data.tables import read_table
from vlp.errors import InputError
from vlp.metrics import bootstrap
from vlp.metrics.measure import REMEDY, Evaluated, Measure

if TYPE_CHECKING:
    import pyarrow as pa

KS = (1, 5, 10)
DIRECTIONS = {"i2t": "TR", "t2i": "IR"}
"""Image-to-text is the papers' text (caption) retrieval, text-to-image their image retrieval."""


@dataclass(frozen=True)
class Candidates:
    """The kept candidates of one direction's queries, one entry each; all [N]."""

    query: NDArray[np.str_]
    candidate: NDArray[np.str_]
    coarse: NDArray[np.float64]
    score: NDArray[np.float64]
    positive: NDArray[np.bool_]


@dataclass(frozen=True)
class Recall:
    metric: str
    value: float
    low: float
    high: float
    chance: float | None
    n: int


def directions(predictions: pa.Table, fold: int = 0, *, exhaustive: bool = False) -> dict[str, Candidates]:
    """The columns of a predictions table, taken apart by direction.

    Args:
        fold: 0: all images; from 1: one of the folds.
        exhaustive: with the candidates that the coarse order had pruned.
    """
    columns = {name: np.asarray(predictions[name]) for name in predictions.column_names}
    if not has_coarse(predictions):
        columns["coarse"] = np.zeros(predictions.num_rows)  # equal: it orders nothing
    kept = np.ones(predictions.num_rows, bool)
    if "fold" in columns:
        kept &= columns["fold"] == fold
    if "pruned" in columns and not exhaustive:
        kept &= ~columns["pruned"]
    columns = {name: column[kept] for name, column in columns.items()}
    return {
        direction: Candidates(
            query=columns["query_id"][at].astype(str),
            candidate=columns["candidate_id"][at].astype(str),
            coarse=columns["coarse"][at].astype(np.float64),
            score=columns["score"][at].astype(np.float64),
            positive=columns["positive"][at].astype(bool),
        )
        for direction in DIRECTIONS
        for at in [columns["direction"] == direction]
    }


NO_COARSE = b"no_coarse"
"""Key of the metadata of predictions that no unimodal encoder has ordered (merged attention); `coarse` is null there (0
in earlier versions)."""


def has_coarse(predictions: pa.Table) -> bool:
    unfilled = predictions["coarse"].null_count == predictions.num_rows
    return not unfilled and NO_COARSE not in (predictions.schema.metadata or {})


def orders(predictions: pa.Table) -> tuple[tuple[bool, str], ...]:
    """(coarse?, prefix of the metrics) of the orders that a predictions table holds."""
    both = ((False, ""), (True, "Uni-"))
    return both if has_coarse(predictions) else both[:1]


def recalls(predictions: pa.Table) -> dict[str, float]:
    """TR@K, IR@K, RSUM of the re-ranked order and the same as Uni-... of the coarse one, in percent."""
    values: dict[str, float] = {}
    for coarse, prefix in orders(predictions):
        here: dict[str, float] = {}
        for direction, kept in directions(predictions).items():
            _, ranks = first_positive(kept, coarse=coarse)
            here |= {f"{prefix}{DIRECTIONS[direction]}@{k}": 100 * float(np.mean(ranks < k)) for k in KS}
        values |= here | {f"{prefix}RSUM": sum(here.values())}
    return values


def first_positive(kept: Candidates, *, coarse: bool = False) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
    """The rank (from 0) of the best placed positive of every query; infinite if no positive was kept: a miss.

    The order is by the score alone. Equal scores (a saturated probability) are ordered by the coarse similarity, then
    by the candidate's id, so the order is one and the same in every run; equal coarse similarities by id.

    Returns:
        the distinct query ids [Q], sorted, and their ranks [Q].
    """
    queries, place = np.unique(kept.query, return_inverse=True)
    keys = (kept.candidate, -kept.coarse) if coarse else (kept.candidate, -kept.coarse, -kept.score)
    order = np.lexsort((*keys, place))
    place, positive = place[order], kept.positive[order]
    starts = np.searchsorted(place, np.arange(len(queries)))
    rank = np.arange(len(place)) - starts[place]
    best = np.full(len(queries), np.inf)
    np.minimum.at(best, place[positive], rank[positive].astype(np.float64))
    return queries, best


def chance(positives: int, total: int, k: int) -> float:
    """P(at least one of `positives` among `k` of `total` drawn without replacement), exactly."""
    k = min(k, total)
    return float(1 - Fraction(comb(total - positives, k), comb(total, k)))


@dataclass(frozen=True)
class Tally:
    """Hits and numbers of queries of each image, [G,6]: i2t @1 @5 @10, then t2i @1 @5 @10; chance [6] in percent."""

    hits: bootstrap.Floats
    queries: bootstrap.Floats
    chance: NDArray[np.float64]

    def values(self) -> NDArray[np.float64]:
        """Recalls [6] in percent."""
        return 100 * self.hits.sum(axis=0) / self.queries.sum(axis=0)

    def resampled(self, seed: int = bootstrap.SEED) -> NDArray[np.float64]:
        """Recalls [resamples, 6] in percent, resampled by image."""
        return 100 * bootstrap.resampled_means(self.hits, self.queries, seed=seed)


def tally(kept: Mapping[str, Candidates], caption_image: Mapping[str, str], *, coarse: bool = False) -> Tally:
    """
    Args:
        kept: `i2t` (queries are images) and `t2i` (queries are captions).
        caption_image: the image of every caption among the queries of `t2i`.
    """
    images = np.unique(kept["i2t"].query).tolist()
    captions = np.unique(kept["t2i"].query).tolist()
    place = {image: i for i, image in enumerate(images)}
    captions_of = np.zeros(len(images), dtype=int)
    for caption in captions:
        captions_of[place[caption_image[caption]]] += 1
    guesses = [100 * float(np.mean([chance(int(p), len(captions), k) for p in captions_of])) for k in KS]
    guesses += [100 * chance(1, len(images), k) for k in KS]
    return Tally(*_per_image(kept, caption_image, images, coarse=coarse), np.array(guesses))


def recalls_with_intervals(tallies: Sequence[Tally], prefix: str = "") -> list[Recall]:
    """TR@K, IR@K and RSUM in percent, with 95% intervals and chance: the mean over the tallies (folds, or one)."""
    values = np.mean([t.values() for t in tallies], axis=0)
    means = np.mean([t.resampled(bootstrap.SEED + i) for i, t in enumerate(tallies)], axis=0)
    guesses = np.mean([t.chance for t in tallies], axis=0)
    return _rows(values, means, guesses, sum(t.queries.sum(axis=0) for t in tallies), prefix)


def lost(pruned: Tally, exhaustive: Tally, prefix: str = "") -> list[Recall]:
    """Recalls of the exhaustive ranking minus those of the re-ranked candidates, in points; the same images in each
    resample. Below zero where pruning took wrong candidates away that would have won."""
    values, means = exhaustive.values() - pruned.values(), exhaustive.resampled() - pruned.resampled()
    return _rows(values, means, None, exhaustive.queries.sum(axis=0), prefix)


def _rows(
    values: NDArray[np.float64], means: NDArray[np.float64], guesses: NDArray[np.float64] | None, n: Any, prefix: str
) -> list[Recall]:
    names = [f"{prefix}{DIRECTIONS[d]}@{k}" for d in DIRECTIONS for k in KS] + [f"{prefix}RSUM"]
    low, high = bootstrap.bounds(np.concatenate([means, means.sum(axis=1, keepdims=True)], axis=1))
    values = np.append(values, values.sum())
    chances = [None] * 7 if guesses is None else [*guesses.tolist(), float(guesses.sum())]
    counts = [*n.astype(int).tolist(), int(n[0] + n[-1])]
    return [
        Recall(*row) for row in zip(names, values.tolist(), low.tolist(), high.tolist(), chances, counts, strict=True)
    ]


def _per_image(
    kept: Mapping[str, Candidates], caption_image: Mapping[str, str], images: Sequence[str], *, coarse: bool
) -> tuple[bootstrap.Floats, bootstrap.Floats]:
    """Hits and numbers of queries of each image: both [G, 6], i2t @1 @5 @10 then t2i @1 @5 @10."""
    sums, counts = [], []
    for direction in DIRECTIONS:
        queries, ranks = first_positive(kept[direction], coarse=coarse)
        owners = [str(q) if direction == "i2t" else caption_image[str(q)] for q in queries]
        hits = ranks[:, None] < np.asarray(KS)
        # A zero row for each image, so that an image without a query of this direction keeps its place.
        padded = np.concatenate([hits, np.zeros((len(images), len(KS)))])
        total, number = bootstrap.by_image(padded, [*owners, *images])
        sums.append(total)
        counts.append(np.repeat(number[:, None] - 1, len(KS), axis=1))
    return np.concatenate(sums, axis=1), np.concatenate(counts, axis=1)


# -- measures ----------------------------------------------------------------------------------------------------------
def measures(e: Evaluated) -> Iterator[Measure]:
    predictions = e.predictions
    captions = read_table(e.tables, "captions").select(["caption_id", "image_id"]).to_pydict()
    owner = dict(zip(captions["caption_id"], captions["image_id"], strict=True))
    kept = directions(predictions)
    _check(e.path, predictions, kept)
    folds = int(np.asarray(predictions["fold"]).max()) if "fold" in predictions.column_names else 0
    for coarse, prefix in orders(predictions):
        parts = [directions(predictions, fold) for fold in range(folds + 1)]
        whole, *each = [tally(part, owner, coarse=coarse) for part in parts]
        protocols = ["unimodal"] * 2 if coarse else [reranking(predictions, parts[n]) for n in (0, -1)]
        yield from _recalls(protocols[0], recalls_with_intervals([whole], prefix))
        if each:
            size = len(np.unique(parts[1]["i2t"].query))
            protocol = f"{protocols[1]}, mean of {folds} folds of {size} images"
            yield from _recalls(protocol, recalls_with_intervals(each, prefix))
        if "pruned" in predictions.column_names and not coarse and protocols[0] != "exhaustive":
            every = tally(directions(predictions, exhaustive=True), owner)
            yield from _recalls("all pairs scored", recalls_with_intervals([every]))
            yield from _recalls("all pairs scored - re-ranked: lost by pruning", lost(whole, every))


def _recalls(protocol: str, rows: Iterable[Recall]) -> Iterator[Measure]:
    for row in rows:
        yield Measure(protocol, row.metric, row.value, row.low, row.high, row.chance, row.n)


def reranking(predictions: pa.Table, kept: Mapping[str, Candidates]) -> str:
    """How many candidates of each query were ranked: `exhaustive` where that is all there are."""
    if not has_coarse(predictions):
        return "exhaustive"
    per_query = {d: int(np.unique(c.query, return_counts=True)[1].max()) for d, c in kept.items()}
    if all(per_query[d] == len(np.unique(kept[other].query)) for d, other in (("i2t", "t2i"), ("t2i", "i2t"))):
        return "exhaustive"
    return f"re-ranked k_c={per_query['i2t']} k_i={per_query['t2i']}"


def _check(path: Path, predictions: pa.Table, kept: Mapping[str, Candidates]) -> None:
    metadata = {k.decode(): v.decode() for k, v in (predictions.schema.metadata or {}).items()}
    for direction, key in (("i2t", "num_images"), ("t2i", "num_texts")):
        queries = len(np.unique(kept[direction].query))
        if key in metadata and queries != int(metadata[key]):
            raise InputError(path, f"{queries} {direction} queries, where {key} is {metadata[key]}.", REMEDY)
