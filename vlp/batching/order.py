"""Order, masks and noise as pure functions of (seed, step): no state to lose in a kill (design: training order)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vlp.errors import InputError

# Streams of counters: one number for each use, so that no two draws share their bits.
ORDER, MASK, NOISE, DROPOUT, EXCHANGE, GROUPING = range(6)
GROUP = 16
"""Batches at most that are pooled and sorted by length."""


def generator(seed: int, stream: int, *counters: int) -> np.random.Generator:
    """An independent generator for each (seed, stream, counters)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, stream, *counters])))


@dataclass(frozen=True)
class Layout:
    """How a global batch is shared: `world` ranks x `accumulation` micro-batches, each of consecutive places.

    Micro-batches are numbered in the order of their places; in each accumulation step the ranks have consecutive ones.
    What is drawn for a micro-batch is counted by this number, so two ranks draw what one rank in two steps does.
    """

    batch_size: int
    world: int
    accumulation: int

    @property
    def micro(self) -> int:
        """Samples of a micro-batch."""
        return self.batch_size // (self.world * self.accumulation)

    @property
    def parts(self) -> int:
        return self.world * self.accumulation

    def own(self, rank: int) -> list[int]:
        """The rank's micro-batches in the order it works on them."""
        return [a * self.world + rank for a in range(self.accumulation)]

    def places(self, part: int) -> slice:
        return slice(part * self.micro, (part + 1) * self.micro)


def demand_batch(samples: int, batch_size: int, where: str) -> None:
    """Raises InputError: a batch would hold some sample twice, and count it among its own negatives."""
    if batch_size > samples:
        problem = f"batch_size is {batch_size}, and there are {samples} samples to train on."
        raise InputError(where, problem, f"Lower it to {samples} or less, or add data.")


@lru_cache(maxsize=2)
def permutation(num_samples: int, seed: int, epoch: int) -> np.ndarray:
    """The samples of an epoch in their drawn order, int32; read only.

    Two are kept, since a batch may span two epochs and that of millions takes many steps' time to draw. So a step costs
    the same whatever the number of samples, and each process that makes batches holds 8 bytes a sample.
    """
    order = generator(seed, ORDER, epoch).permutation(num_samples).astype(np.int32)
    order.flags.writeable = False
    return order


def batch_indices(num_samples: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Samples of the global batch at `step`: epochs are permutations laid end to end, whatever the world size.

    A batch may span two epochs, so none is short and every sample is seen once in each epoch.
    """
    first = step * batch_size
    parts, need = [], batch_size
    while need:
        epoch, offset = divmod(first, num_samples)
        part = permutation(num_samples, seed, epoch)[offset : offset + need]
        parts.append(part)
        first, need = first + len(part), need - len(part)
    return np.concatenate(parts)


def grouped_indices(lengths: np.ndarray, batch_size: int, seed: int, step: int) -> np.ndarray:
    """As `batch_indices`, with samples of similar length in one batch, so that little is padded.

    Up to `GROUP` consecutive batches of one epoch are pooled, sorted by length and dealt out in a drawn order: every
    pool holds the same samples as without grouping, so every epoch is a permutation still, no sample is preferred, and
    the long ones come at any time of an epoch. A batch that spans two epochs is in no pool.
    """
    n = len(lengths)
    epoch = step * batch_size // n
    first, end = -(-epoch * n // batch_size), (epoch + 1) * n // batch_size
    if not first <= step < end:
        return batch_indices(n, batch_size, seed, step)
    pool, place = divmod(step - first, GROUP)
    begin = first + pool * GROUP
    size = min(GROUP, end - begin)
    offset = begin * batch_size - epoch * n
    indices = permutation(n, seed, epoch)[offset : offset + size * batch_size]
    chosen = generator(seed, GROUPING, epoch, pool).permutation(size)[place]
    return indices[np.argsort(lengths[indices], kind="stable")][chosen * batch_size :][:batch_size]


def derangement(n: int, seed: int) -> np.ndarray:
    """A permutation of 0..n-1 without fixed point (n >= 2): one cycle through a random order."""
    if n < 2:
        raise ValueError("images can be exchanged only between at least two")
    order = generator(seed, EXCHANGE, n).permutation(n)
    result = np.empty(n, np.int64)
    result[order] = np.roll(order, 1)
    return result
