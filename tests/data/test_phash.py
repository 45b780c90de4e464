"""The perceptual hash: copies are near, other pictures far, and the look-up finds what comparing all pairs finds."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.data.photos import copy, photo, save
from vlp.data.leaks.phash import BITS, LIMIT, LOOKUP, distance, hash_file, near, phash


@pytest.mark.parametrize("quality, scale", [(30, 1.0), (60, 0.5), (75, 0.3), (90, 1.6)])
def test_a_copy_is_near(quality: int, scale: float) -> None:
    for seed in range(5):
        original, again = photo(seed), copy(photo(seed), quality, scale)
        assert distance(_hash(original), _hash(again)) <= LIMIT


def test_other_pictures_and_mirrored_ones_are_far() -> None:
    hashes = [_hash(photo(seed)) for seed in range(40)]
    assert min(distance(a, b) for a, b in itertools.combinations(hashes, 2)) > 2 * LIMIT
    assert distance(hashes[0], _hash(photo(0).transpose(Image.Transpose.FLIP_LEFT_RIGHT))) > LIMIT


def test_a_flat_picture_has_no_hash() -> None:
    assert phash(Image.new("RGB", (100, 80), (250, 250, 250))) is None


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.gif", "a.webp"])
def test_a_file_of_any_format_is_the_same_picture(tmp_path: Path, name: str) -> None:
    found = hash_file(save(tmp_path / name, photo(3)))
    assert found is not None and distance(found, _hash(photo(3))) <= LIMIT


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(0, 12))
@settings(max_examples=40, deadline=None)
def test_the_look_up_finds_what_comparing_all_pairs_finds(seed: int, count: int, flips: int) -> None:
    """Every pair within LOOKUP of the first word and LIMIT of all, and no other; with chance pairs and made ones."""
    random = np.random.default_rng(seed)
    wanted = random.integers(0, 2**63, (count, 2), dtype=np.uint64)
    hashes = wanted[random.integers(0, count, 2 * count)].copy()
    for row in hashes:
        for bit in random.choice(BITS, flips, replace=False):
            row[bit // 64] ^= np.uint64(1) << np.uint64(bit % 64)
    pairs = set()
    for other, row in itertools.product(range(count), range(len(hashes))):
        bits = int(distance(wanted[other], hashes[row]))
        if bits <= LIMIT and np.bitwise_count(wanted[other, 0] ^ hashes[row, 0]) <= LOOKUP:
            pairs.add((other, row, bits))
    assert set(near(wanted, hashes)) == pairs


def _hash(image: Image.Image) -> np.ndarray:
    found = phash(image)
    assert found is not None
    return found
