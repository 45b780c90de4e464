"""95% bootstrap intervals, resampled by image: captions, questions and phrases of one image are not independent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 1000
SEED = 20220711
"""Fixed, so that results are equal from run to run."""
_CELLS = 20_000_000

Floats = NDArray[np.float64]


def by_image(values_NM: ArrayLike, images: Sequence[str]) -> tuple[Floats, Floats]:
    """Sum the values of each image's items.

    Args:
        values_NM: [N] or [N, M] values of N items.
        images: the N items' image ids.

    Returns:
        sums [G, M] and counts [G] of the G distinct images, ordered by id.
    """
    values = np.asarray(values_NM, dtype=np.float64).reshape(len(images), -1)
    distinct, place = np.unique(np.asarray(images, dtype=str), return_inverse=True)
    sums = np.zeros((len(distinct), values.shape[1]))
    np.add.at(sums, place, values)
    return sums, np.bincount(place, minlength=len(distinct)).astype(np.float64)


def resampled_means(sums_GM: Floats, counts_GM: Floats, resamples: int = RESAMPLES, seed: int = SEED) -> Floats:
    """Means over items in `resamples` draws of G images with replacement.

    Args:
        sums_GM: sum of each of M metrics over an image's items.
        counts_GM: [G] or [G, M] number of the image's items.

    Returns:
        [resamples, M]; NaN where a draw holds no item.
    """
    images = len(sums_GM)
    counts = np.broadcast_to(counts_GM.reshape(images, -1), sums_GM.shape)
    random = np.random.default_rng(seed)
    share = np.full(images, 1.0 / images)
    parts = []
    step = max(1, _CELLS // images)
    for start in range(0, resamples, step):
        draws = random.multinomial(images, share, size=min(step, resamples - start)).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            parts.append((draws @ sums_GM) / (draws @ counts))
    return np.concatenate(parts)


def bounds(means_RM: Floats) -> tuple[Floats, Floats]:
    """The 2.5% and 97.5% quantiles of each column."""
    low, high = np.nanquantile(means_RM, [0.025, 0.975], axis=0)
    return low, high


def interval(values_N: ArrayLike, images: Sequence[str]) -> tuple[float, float]:
    """95% interval of the mean of N values, resampled by image."""
    low, high = bounds(resampled_means(*by_image(values_N, images)))
    return float(low[0]), float(high[0])
