import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vlp.batching.order import batch_indices, derangement, generator


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
