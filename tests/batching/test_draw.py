"""What a draw depends on: the step, and the whole batch, the micro-batch, or a sample's place."""

from __future__ import annotations

import numpy as np

from tests.batching.draws import draw
from vlp.batching.order import MASK, NOISE, generator


def test_ramps_rise_over_their_share_of_the_run() -> None:
    assert draw(4, step=0, total=100).ramp(0.0) == 1.0
    assert [draw(4, step=s, total=100).ramp(0.5) for s in (0, 25, 50, 99)] == [0.0, 0.5, 1.0, 1.0]
    assert [draw(4, step=s, total=100).progress for s in (0, 25, 130)] == [0.0, 0.25, 1.0]


def test_a_sample_draws_the_same_in_every_micro_batch() -> None:
    whole = [draw(12, 3, 5).of(i, MASK).random() for i in range(12)]
    parts = [draw(4, 3, 5, part).of(i, MASK).random() for part in range(3) for i in range(4)]
    assert whole == parts and len(set(whole)) == 12


def test_groups_of_places_and_micro_batches_are_counted() -> None:
    assert draw(4, 3, 5, part=2).of_group(0, 4, NOISE).random() == draw(4, 3, 5, part=2).rng(NOISE).random()
    pairs = [draw(4, 3, 5, part).of_group(i, 2, NOISE).random() for part in range(2) for i in range(4)]
    assert pairs == [draw(8, 3, 5).of_group(i, 2, NOISE).random() for i in range(8)]
    assert pairs[::2] == pairs[1::2] and len(set(pairs)) == 4


def test_all_parts_share_what_the_whole_batch_draws() -> None:
    expected = generator(3, MASK, 5).random(6)
    for part in range(3):
        np.testing.assert_array_equal(draw(4, 3, 5, part).whole(MASK).random(6), expected)
