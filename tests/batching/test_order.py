import hashlib
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vlp.batching.order import (
    GROUP,
    GROUPING,
    ORDER,
    batch_indices,
    derangement,
    generator,
    grouped_indices,
    permutation,
)


@given(st.integers(1, 40), st.integers(1, 17), st.integers(0, 99))
def test_every_epoch_is_a_permutation(samples: int, batch: int, seed: int) -> None:
    steps = 3 * samples // batch + 1
    seen = np.concatenate([batch_indices(samples, batch, seed, s) for s in range(steps)])
    for epoch in range(len(seen) // samples):
        assert sorted(seen[epoch * samples : (epoch + 1) * samples]) == list(range(samples))


def test_order_depends_on_seed_and_step_alone() -> None:
    again = [batch_indices(50, 8, 3, s) for s in (5, 2, 5)]
    assert (again[0] == again[2]).all()
    assert (again[0] != batch_indices(50, 8, 4, 5)).any()


@given(st.integers(2, 50), st.integers(0, 99))
def test_derangement_moves_everything(n: int, seed: int) -> None:
    d = derangement(n, seed)
    assert sorted(d) == list(range(n))
    assert (d != np.arange(n)).all()


def test_streams_are_independent() -> None:
    assert generator(1, 0, 5).random() != generator(1, 1, 5).random()
    assert generator(1, 0, 5).random() == generator(1, 0, 5).random()


@given(st.lists(st.integers(1, 30), min_size=1, max_size=60), st.integers(1, 9), st.integers(0, 5))
def test_grouped_epochs_are_permutations_too(lengths: list[int], batch: int, seed: int) -> None:
    """Whatever the batch size: the samples of the steps in their order are epochs laid end to end."""
    n = len(lengths)
    seen = np.concatenate([grouped_indices(np.array(lengths), batch, seed, s) for s in range(3 * n // batch + 1)])
    for epoch in range(len(seen) // n):
        assert sorted(seen[epoch * n : (epoch + 1) * n]) == list(range(n))


@given(st.lists(st.integers(1, 30), min_size=40, max_size=90), st.integers(1, 3), st.integers(0, 5))
def test_the_batches_of_a_pool_are_dealt_out_by_length(lengths: list[int], batch: int, seed: int) -> None:
    """Of the first pool of an epoch: the samples of the plain order, no batch reaching into another's lengths."""
    size = min(GROUP, len(lengths) // batch)
    grouped = [grouped_indices(np.array(lengths), batch, seed, s) for s in range(size)]
    plain = np.concatenate([batch_indices(len(lengths), batch, seed, s) for s in range(size)])
    assert sorted(np.concatenate(grouped)) == sorted(plain)
    spans = sorted((min(lengths[i] for i in g), max(lengths[i] for i in g)) for g in grouped)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))


def test_millions_of_samples_are_not_drawn_anew_for_each_step() -> None:
    one, other = permutation(1000, 1, 0), permutation(1000, 1, 0)
    assert one is other and not one.flags.writeable
    assert (permutation(1000, 1, 1) != one).any()


def plainly(lengths: np.ndarray, batch: int, seed: int, steps: int) -> list[np.ndarray]:
    """The batches of the first steps, from whole epochs laid out at once."""
    n = len(lengths)
    epochs = [generator(seed, ORDER, e).permutation(n) for e in range(steps * batch // n + 1)]
    samples = np.concatenate(epochs)
    for e in range(len(epochs)):
        first, end = -(-e * n // batch), (e + 1) * n // batch
        for k, begin in enumerate(range(first, end, GROUP)):
            size = min(GROUP, end - begin)
            pool = samples[begin * batch : (begin + size) * batch].reshape(size, batch)
            by_length = sorted(pool.ravel(), key=lambda i: lengths[i])
            dealt = generator(seed, GROUPING, e, k).permutation(size)
            samples[begin * batch : (begin + size) * batch] = np.reshape(by_length, (size, batch))[dealt].ravel()
    return list(samples[: steps * batch].reshape(steps, batch))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=60), st.integers(1, 9), st.integers(0, 5))
def test_order_of_a_step_is_that_of_whole_epochs(lengths: list[int], batch: int, seed: int) -> None:
    """Asked for in any order, so nothing depends on what is kept."""
    values, steps = np.array(lengths), 2 * len(lengths) // batch + 1
    expected = plainly(values, batch, seed, steps)
    for step in generator(seed, 99).permutation(steps):
        assert (grouped_indices(values, batch, seed, int(step)) == expected[step]).all()


def test_order_stays_what_it_was() -> None:
    """A training that goes on with a newer version of this package sees the same samples."""
    lengths = np.arange(1000) * 7919 % 31
    seen = np.concatenate([grouped_indices(lengths, 24, 88, step) for step in range(90)]).astype("<i8")
    assert hashlib.sha256(seen.tobytes()).hexdigest()[:16] == "c2fdb8f7c267d4f0"


def test_long_batches_come_at_any_time() -> None:
    lengths = np.arange(640)
    first = [grouped_indices(lengths, 20, seed, 0).mean() for seed in range(40)]
    assert np.std(first) > 100
