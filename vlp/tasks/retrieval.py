"""Image-text retrieval: coarse by the unimodal encoders, re-ranked by the multimodal one (paper 4.2.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from vlp import finite
from vlp.errors import InputError
from vlp.methods.base import Retriever, Scorer
from vlp.metrics.ranking import best
from vlp.metrics.retrieval import KS, NO_COARSE
from vlp.tasks.base import NO_CHOICE, Task

if TYPE_CHECKING:
    import pyarrow as pa

SELECTION_DEPTH = 16
_PAIRS_AT_ONCE = 1_000_000


class Retrieval(Task):
    """Texts against the images of one split. An image's states are computed once, and so are a text's."""

    name, texts, capability = "retrieval", "captions", Retriever

    def predict(self, model: nn.Module, split: str) -> pa.Table:
        c = self.config
        return self._predict(model, split, c.captions_reranked, c.images_reranked, c.folds, c.exhaustive)

    def items(self, split: str) -> list[str]:
        """Texts and images."""
        return [*super().items(split), *sorted(set(self.image_ids(self.rows(split))))]

    def selection_predictions(self, model: nn.Module) -> pa.Table:
        """Shallower than the final ranking: it only has to order checkpoints."""
        depth = SELECTION_DEPTH
        return self._predict(
            model, "val", min(depth, self.config.captions_reranked), min(depth, self.config.images_reranked)
        )

    def score(self, predictions: pa.Table) -> float:
        from vlp.metrics.retrieval import recalls

        return recalls(predictions)["RSUM"]

    @torch.inference_mode()
    def _predict(
        self, model: nn.Module, split: str, k_c: int, k_i: int, folds: int = 1, exhaustive: bool = False
    ) -> pa.Table:
        rows = self.rows(split)
        images, image_of_S = np.unique(self.image_ids(rows), return_inverse=True)
        scorer = self.side.scorer(model, rows, images.tolist())
        parts = list(fold_parts(image_of_S, len(images), folds))
        ordered = scorer.coarse_IS is not None
        coarse_IS = scorer.coarse_IS if ordered else np.zeros((len(images), len(rows)), np.float32)
        names = images.tolist(), [self.text_set.ids[int(r)] for r in rows]
        demand_finite(coarse_IS, *names)
        kept = [candidates(coarse_IS, *part, k_c, k_i) for part in parts]
        everything = exhaustive or not ordered  # else nothing orders candidates cheaply
        wanted_IS = np.full(coarse_IS.shape, everything)
        for pairs in (pair for part in kept for pair in part.values()):
            wanted_IS[pairs[:, 0], pairs[:, 1]] = True
        score_IS = score(scorer, wanted_IS)
        demand_finite(score_IS, *names, wanted_IS)
        lists = kept
        if everything:
            depth = (max(k_c, *KS), max(k_i, *KS))
            ranked = [candidates(score_IS, *part, *depth, second_IS=coarse_IS) for part in parts]
            lists = (
                [{d: joined(k[d], r[d]) for d in k} for k, r in zip(kept, ranked, strict=True)] if ordered else ranked
            )
        pruned = kept if everything and ordered else None
        table = self._table(rows, images, image_of_S, lists, coarse_IS if ordered else None, score_IS, pruned)
        said: dict[bytes, str] = {b"num_texts": str(len(rows)), b"num_images": str(len(images))}
        return table.replace_schema_metadata(said | ({} if ordered else {NO_COARSE: "exhaustive"}))

    def _table(
        self,
        rows: np.ndarray,
        images: np.ndarray,
        image_of_S: np.ndarray,
        lists: list[dict[str, np.ndarray]],
        coarse_IS: np.ndarray | None,
        score_IS: np.ndarray,
        kept: list[dict[str, np.ndarray]] | None,
    ) -> pa.Table:
        import pyarrow as pa

        tables = []
        texts = np.array([self.text_set.ids[int(r)] for r in rows])
        for fold, part in enumerate(lists):
            for direction, pairs in part.items():
                image_N, text_N = pairs.T
                ids = images[image_N], texts[text_N]
                columns = {
                    "direction": np.full(len(pairs), direction),
                    "query_id": ids[direction == "t2i"],
                    "candidate_id": ids[direction == "i2t"],
                    "coarse": pa.nulls(len(pairs), pa.float64())
                    if coarse_IS is None
                    else coarse_IS[image_N, text_N].astype(np.float64),
                    "score": score_IS[image_N, text_N].astype(np.float64),
                    "positive": image_of_S[text_N] == image_N,
                }
                if len(lists) > 1:
                    columns["fold"] = np.full(len(pairs), fold, np.int8)
                if kept is not None:
                    columns["pruned"] = ~np.isin(_numbers(pairs), _numbers(kept[fold][direction]))
                tables.append(pa.table(columns))
        return pa.concat_tables(tables)


def score(scorer: Scorer, wanted_IS: np.ndarray) -> np.ndarray:
    """Match scores [I,S] of the wanted pairs, each scored once; NaN elsewhere."""
    score_IS = np.full(wanted_IS.shape, np.nan, np.float32)
    images = max(1, _PAIRS_AT_ONCE // wanted_IS.shape[1])
    for begin in range(0, len(wanted_IS), images):
        pairs = np.argwhere(wanted_IS[begin : begin + images]) + np.array([begin, 0])
        score_IS[pairs[:, 0], pairs[:, 1]] = scorer.match(pairs)
    return score_IS


def demand_finite(
    score_IS: np.ndarray, images: Sequence[str], texts: Sequence[str], wanted_IS: np.ndarray | None = None
) -> None:
    """Raises InputError: a score of an image and a text is not finite; the first pair is named.

    A sort would give it a place all the same.

    Args:
        wanted_IS: the pairs that were scored; None: all.
    """
    scores = score_IS if wanted_IS is None else score_IS[wanted_IS]
    if count := finite.bad(scores):
        wrong_IS = ~np.isfinite(score_IS) if wanted_IS is None else ~np.isfinite(score_IS) & wanted_IS
        i, s = (int(at[0]) for at in np.nonzero(wrong_IS))
        problem = f"the model's scores: {finite.said(count, scores.size)}, the first with {images[i]}."
        raise InputError("ranking", problem, NO_CHOICE, texts[s])


def fold_parts(image_of_S: np.ndarray, images: int, folds: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(images, texts) of the whole, then of each of `folds` > 1 runs of images in the order of their ids.

    Raises:
        InputError: the folds would not be equal, and their mean not one over images.
    """
    yield np.arange(images), np.arange(len(image_of_S))
    if folds > 1 and images % folds:
        problem = f"{images} images make no {folds} equal folds."
        raise InputError("tasks.retrieval.folds", problem, "Name a divisor, or 1.")
    for own in np.split(np.arange(images), folds) if folds > 1 else []:
        yield own, np.flatnonzero(np.isin(image_of_S, own))


def candidates(
    score_IS: np.ndarray,
    images: np.ndarray,
    texts: np.ndarray,
    k_c: int,
    k_i: int,
    second_IS: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """The k_c best texts of each image and the k_i best images of each text, exactly, among those named.

    Args:
        second_IS: what orders equal scores; then the lower index comes first, so that the order does not depend on
            the sort's mood. None: the lower index at once.

    Returns:
        (image, text) [N,2] by direction, query after query, best first.
    """
    part = np.ix_(images, texts)
    first, second = score_IS[part], None if second_IS is None else second_IS[part]
    of_image = best(first, k_c, second)
    of_text = best(first.T, k_i, None if second is None else second.T)
    return {
        "i2t": np.stack([np.repeat(images, of_image.shape[1]), texts[of_image.ravel()]], 1),
        "t2i": np.stack([images[of_text.ravel()], np.repeat(texts, of_text.shape[1])], 1),
    }


def joined(pairs_N2: np.ndarray, more_M2: np.ndarray) -> np.ndarray:
    """The pairs and those of `more` that are not among them."""
    return np.concatenate([pairs_N2, more_M2[~np.isin(_numbers(more_M2), _numbers(pairs_N2))]])


def _numbers(pairs_N2: np.ndarray) -> np.ndarray:
    """One number for each (image, text)."""
    return pairs_N2[:, 0] * np.int64(2**32) + pairs_N2[:, 1]
