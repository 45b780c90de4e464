"""What trainings cost, whatever is trained."""

from __future__ import annotations

import pytest

from vlp.config.training import Plan
from vlp.errors import ConfigError
from vlp.training import estimate
from vlp.training.schedule import samples_seen, steps

PLAN = Plan(epochs=30, epoch_size=1000, batch_size=100, learning_rate=1e-4, precision="bf16")
MACHINES = estimate.Machines.parse("8xH200")


@pytest.mark.parametrize("text", ["8xTPU", "0xH200", "x", "8 H200"])
def test_unknown_gpus_are_named(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--gpus .*: write COUNTxNAME"):
        estimate.Machines.parse(text)


def test_a_training_costs_its_samples() -> None:
    forward = [{"pixels": 2e9, "head": 2e9}, {"pixels": 1e9, "head": 1e9}]
    found = estimate.cost("only", PLAN, forward, ("pixels",), MACHINES, None, 5e9)
    assert (found.samples, found.steps, found.memory) == (30_000, 300, 5e9)
    assert (found.padded, found.useful) == (30_000 * (2 * 2e9 + 3 * 2e9), 30_000 * (2e9 + 3e9))
    assert found.shares == {"pixels": 0.4, "head": 0.6}
    rate = 8 * 989.5e12 * estimate.UTILISATION
    assert found.hours_useful == pytest.approx(found.useful / rate / 3600)


def test_without_the_number_of_rows_it_is_of_one_sample() -> None:
    o = PLAN.model_copy(update={"epoch_size": None})
    found = estimate.cost("only", o, [{"head": 2e9}, {"head": 1e9}], (), MACHINES, None, 0.0)
    assert (found.samples, found.hours_useful, found.useful) == (None, None, 3e9)
    assert estimate.cost("only", o, [{"head": 2e9}, {"head": 1e9}], (), MACHINES, 10, 0.0).samples == 300


def test_state_of_zero_2_is_shared_by_the_ranks() -> None:
    assert estimate.state_bytes(100, 100, PLAN, 1) == 100 * 16
    assert estimate.state_bytes(100, 50, PLAN, 8) == 100 * 2 + 50 * 14 / 8


def test_schedule_counts_samples_seen() -> None:
    assert samples_seen(PLAN, 10) == samples_seen(PLAN, 20) == 30_000
    whole = PLAN.model_copy(update={"epoch_size": None})
    assert steps(whole, 2000) == 600 and steps(whole, 1) == 1
