"""A global batch is the same however it is shared: order, masks and the noise of hard negatives."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.batching.draws import draw
from tests.objectives.batches import batch
from vlp.batching.order import Layout
from vlp.methods.mvptr.reader import add_negative_noise


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 5))
def test_every_place_is_worked_on_once(world: int, accumulation: int, micro: int) -> None:
    layout = Layout(world * accumulation * micro, world, accumulation)
    parts = [part for rank in range(world) for part in layout.own(rank)]
    assert sorted(parts) == list(range(layout.parts))
    places = [i for part in parts for i in range(*layout.places(part).indices(layout.batch_size))]
    assert sorted(places) == list(range(layout.batch_size)) and layout.micro == micro


@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 20))
def test_two_ranks_draw_what_one_does_in_two_steps(world: int, accumulation: int, step: int) -> None:
    """Micro-batches of one size have the same numbers, whichever rank works on them in whichever step."""
    one, other = Layout(24, world, accumulation), Layout(24, accumulation, world)
    numbers = {part: one.places(part) for rank in range(world) for part in one.own(rank)}
    assert numbers == {part: other.places(part) for rank in range(accumulation) for part in other.own(rank)}


@given(st.sampled_from([2, 4, 6, 12]), st.integers(0, 20))
def test_noise_within_groups_depends_on_places_alone(micro: int, step: int) -> None:
    whole = add_negative_noise(batch(12), draw(12, 7, step), group=2)
    assert whole.gumbel_2BG is not None and whole.replace_image_B is not None
    for part in range(12 // micro):
        own = slice(part * micro, (part + 1) * micro)
        some = add_negative_noise(batch(micro), draw(micro, 7, step, part), group=2)
        assert some.gumbel_2BG is not None and some.replace_image_B is not None
        assert torch.equal(some.gumbel_2BG, whole.gumbel_2BG[:, own, own])
        assert torch.equal(some.replace_image_B, whole.replace_image_B[own])
    finite = whole.gumbel_2BG.isfinite().all(0)
    assert torch.equal(finite, torch.block_diag(*[torch.ones(2, 2)] * 6).bool())
    assert whole.replace_image_B.view(6, 2).sum(1).tolist() == [1] * 6


def test_micro_batches_of_one_step_draw_differently() -> None:
    first, second = (add_negative_noise(batch(4), draw(4, 7, 0, part)).gumbel_2BG for part in (0, 1))
    assert first is not None and second is not None and not torch.equal(first, second)
