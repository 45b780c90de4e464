"""Order, masks and noise as pure functions of (seed, step): no state to lose in a kill (design: training order)."""

from __future__ import annotations

import numpy as np

# Streams of counters: one number for each use, so that no two draws share their bits.
ORDER, MASK, NOISE, DROPOUT, EXCHANGE, GROUPING = range(6)
GROUP = 16
"""Batches that are pooled and sorted by length."""


def generator(seed: int, stream: int, *counters: int) -> np.random.Generator:
    """An independent generator for each (seed, stream, counters)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, stream, *counters])))


def batch_indices(num_samples: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Samples of the global batch at `step`: epochs are permutations laid end to end, whatever the world size.

    A batch may span two epochs, so none is short and every sample is seen once in each epoch.
    """
    first = step * batch_size
    parts, need = [], batch_size
    while need:
        epoch, offset = divmod(first, num_samples)
        part = generator(seed, ORDER, epoch).permutation(num_samples)[offset : offset + need]
        parts.append(part)
        first, need = first + len(part), need - len(part)
    return np.concatenate(parts)


def grouped_indices(lengths: np.ndarray, batch_size: int, seed: int, step: int) -> np.ndarray:
    """As `batch_indices`, with samples of similar length in one batch, so that little is padded.

    `GROUP` consecutive batches are pooled, sorted by length and dealt out in a drawn order: every pool holds the same
    samples as without grouping, no sample is preferred, and the long ones come at any time of an epoch.
    """
    pool, place = divmod(step, GROUP)
    indices = batch_indices(len(lengths), batch_size * GROUP, seed, pool)
    chosen = generator(seed, GROUPING, pool).permutation(GROUP)[place]
    return indices[np.argsort(lengths[indices], kind="stable")][chosen * batch_size :][:batch_size]


def derangement(n: int, seed: int) -> np.ndarray:
    """A permutation of 0..n-1 without fixed point (n >= 2): one cycle through a random order."""
    if n < 2:
        raise ValueError("images can be exchanged only between at least two")
    order = generator(seed, EXCHANGE, n).permutation(n)
    result = np.empty(n, np.int64)
    result[order] = np.roll(order, 1)
    return result
