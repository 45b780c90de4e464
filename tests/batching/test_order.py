from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vlp.batching.order import GROUP, batch_indices, derangement, generator, grouped_indices


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


@given(st.lists(st.integers(1, 30), min_size=1, max_size=60), st.integers(1, 5), st.integers(0, 3))
def test_grouping_keeps_every_pool(lengths: list[int], batch: int, pool: int) -> None:
    """The batches of a pool are those of the plain order, dealt out by length."""
    steps = range(pool * GROUP, (pool + 1) * GROUP)
    grouped = [grouped_indices(np.array(lengths), batch, 1, s) for s in steps]
    plain = np.concatenate([batch_indices(len(lengths), batch, 1, s) for s in steps])
    assert sorted(np.concatenate(grouped)) == sorted(plain)
    spans = sorted((min(lengths[i] for i in g), max(lengths[i] for i in g)) for g in grouped)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))


def test_long_batches_come_at_any_time() -> None:
    lengths = np.arange(640)
    first = [grouped_indices(lengths, 20, seed, 0).mean() for seed in range(40)]
    assert np.std(first) > 100
