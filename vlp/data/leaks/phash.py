"""A perceptual hash: copies of a photograph that were re-encoded or re-sized have almost the same bits.

The picture is made grey, 64 x 64 pixels; of its discrete cosine transform the lowest frequencies of both axes are
compared with their median. 128 bits: the 64 lowest in the first word, by which near hashes are looked up, the next
64 in the second. Distances that were measured, and what the limits are taken from: docs/data.md.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZE = 64
WORDS = 2
BITS = 64 * WORDS
FLAT = 2.0
"""Standard deviation of the grey levels (of 255) below which a picture has no structure, and so no hash."""
LOOKUP = 7
"""Hashes whose first words differ in more bits are not compared: 7 leave one of four 16-bit bands with at most one."""
LIMIT = 16
"""Pictures whose hashes differ in at most so many of all bits are the same."""

_CHUNK = 1 << 14

Hashes = NDArray[np.uint64]
"""[N, WORDS]"""


@functools.lru_cache(1)
def _basis() -> NDArray[np.float64]:
    """[SIZE, SIZE] orthonormal DCT-II, row = frequency."""
    k, x = np.mgrid[:SIZE, :SIZE]
    basis = np.sqrt(2.0 / SIZE) * np.cos(np.pi * k * (2 * x + 1) / (2 * SIZE))
    basis[0] /= np.sqrt(2.0)
    return basis


@functools.lru_cache(1)
def _places() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(row, column) of the BITS lowest frequencies, by their sum, without the mean."""
    order = sorted((r + c, r, c) for r in range(SIZE) for c in range(SIZE) if r + c)[:BITS]
    return np.array([o[1] for o in order]), np.array([o[2] for o in order])


def phash(image: Any) -> NDArray[np.uint64] | None:
    """[WORDS] of a Pillow image; None: it is flat, which any other flat picture would be a copy of."""
    from PIL import Image

    grey = image.convert("L").resize((SIZE, SIZE), Image.Resampling.BOX)
    values = np.asarray(grey, np.float64)
    if values.std() < FLAT:
        return None
    basis = _basis()
    low = (basis @ values @ basis.T)[_places()]
    words = low.reshape(WORDS, 64)
    bits = words > np.median(words, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8").astype(np.uint64).reshape(WORDS)


def hash_file(path: Path) -> NDArray[np.uint64] | None:
    """[WORDS] of an image file or a member of an archive; None: flat. Raises ImageError: it cannot be read."""
    from vlp.images.decode import decode

    return phash(decode(path, small=(4 * SIZE, 4 * SIZE)).image)


def distance(a: Hashes, b: Hashes) -> NDArray[np.int64]:
    """Bits that differ, over the last axis."""
    return np.bitwise_count(a ^ b).sum(axis=-1, dtype=np.int64)


def near(wanted: Hashes, hashes: Hashes) -> Iterator[tuple[int, int, int]]:
    """(row of `wanted`, row of `hashes`, distance) of all pairs within LOOKUP and LIMIT, by row of `hashes`.

    Two first words that differ in at most 7 bits have, of four bands of 16, one with at most one bit that differs: it
    is looked up with each bit turned. Time grows with the number of `hashes`, not with the product.
    """
    bands = _bands(wanted)
    orders = [np.argsort(bands[:, b], kind="stable") for b in range(4)]
    keys = [bands[order, b] for b, order in enumerate(orders)]
    turned = np.concatenate([[0], 1 << np.arange(16)]).astype(np.uint16)
    for start in range(0, len(hashes), _CHUNK):
        chunk = hashes[start : start + _CHUNK]
        found = [_candidates(keys[b], orders[b], band[:, None] ^ turned) for b, band in enumerate(_bands(chunk).T)]
        pairs = np.unique(np.concatenate(found), axis=0)
        ours, theirs = wanted[pairs[:, 1]], chunk[pairs[:, 0]]
        far = distance(ours, theirs)
        kept = (far <= LIMIT) & (np.bitwise_count(ours[:, 0] ^ theirs[:, 0]) <= LOOKUP)
        for (row, other), bits in zip(pairs[kept].tolist(), far[kept].tolist(), strict=True):
            yield other, start + row, bits


def _bands(hashes: Hashes) -> NDArray[np.uint16]:
    """[N, 4] of the first word."""
    return np.ascontiguousarray(hashes[:, 0]).view(np.uint16).reshape(len(hashes), 4)


def _candidates(keys: NDArray[np.uint16], order: NDArray[np.int64], probes: NDArray[np.uint16]) -> NDArray[np.int64]:
    """[P, 2] (row of `probes`, row of the wanted) wherever one of a row's probes is a key; `keys` are sorted."""
    first, last = (np.searchsorted(keys, probes.ravel(), side) for side in ("left", "right"))
    counts = last - first
    rows = np.repeat(np.arange(probes.size) // probes.shape[1], counts)
    inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.stack([rows, order[np.repeat(first, counts) + inside]], axis=1)
