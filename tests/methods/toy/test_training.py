"""The toy's stage with a momentum copy and a queue: whatever ranks share a step, kills and batches that are no number.

The building blocks are tested with a student of their own in `tests/training/test_beyond.py`; here a whole method is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.methods.toy.conftest import Chain
from tests.methods.toy.lab import BATCH, STATE, STEPS, rank
from tests.training.kills import Trainings

pytestmark = pytest.mark.slow

QUEUE = 64


@pytest.fixture(scope="module")
def trainings(chain: Chain) -> Trainings:
    return Trainings(chain.folder)


def finished(trainings: Trainings, folder: Path, ranks: int = 1, **settings: Any) -> dict[str, Tensor]:
    trainings.finish(folder, ranks, rank, checkpoint_steps=1, **settings)
    return load_file(folder / STATE)


@pytest.fixture(scope="module")
def whole(trainings: Trainings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """One rank, undisturbed."""
    return finished(trainings, tmp_path_factory.mktemp("whole"))


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name, x in one.items() if not torch.equal(other[name], x)] == []


def alike(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    """Sums in another order: the keys differ by less than what Adam makes of it in the weights."""
    assert one.keys() == other.keys()
    for name, x in one.items():
        if x.is_floating_point():
            tolerance = 1e-6 if name.startswith("queue.") else 1e-5
            torch.testing.assert_close(other[name], x, rtol=tolerance, atol=tolerance, msg=name)
        else:
            assert torch.equal(other[name], x), name


def without_reference(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """The copy in double precision is in no checkpoint."""
    return {name: x for name, x in found.items() if not name.startswith("double.")}


def test_it_moves(whole: dict[str, Tensor]) -> None:
    assert int(whole["queue.pointer"]) == STEPS * BATCH % QUEUE and int(whole["queue.filled"]) == QUEUE
    for side in ("image", "text"):
        torch.testing.assert_close(whole[f"queue.{side}"].norm(dim=1), torch.ones(QUEUE))
    for name, x in whole.items():
        if name.startswith("double."):
            own = name.removeprefix("double.")
            torch.testing.assert_close(whole[f"teacher.{own}"].double(), x, rtol=1e-5, atol=1e-6)
            assert not torch.equal(whole[f"weights.{own}"], whole[f"teacher.{own}"]), name


def test_after_a_kill_every_bit_is_the_same(whole: dict[str, Tensor], trainings: Trainings, tmp_path: Path) -> None:
    with trainings.started(tmp_path, 1, rank, checkpoint_steps=1, kill=STEPS // 2) as (process,):
        process.join(600)
    assert process.exitcode == -9 and not (tmp_path / STATE).exists()
    after = finished(trainings, tmp_path)
    equal(without_reference(whole), without_reference(after))


def test_one_two_one_ranks(whole: dict[str, Tensor], trainings: Trainings, tmp_path: Path) -> None:
    for ranks, until in ((1, 2), (2, 5)):
        trainings.finish(tmp_path, ranks, rank, until=until)
    after = finished(trainings, tmp_path)
    assert "saved by 1 ranks, read by 2" in (said := (tmp_path / "rank-0.log").read_text())
    assert "saved by 2 ranks, read by 1" in said
    alike(without_reference(whole), without_reference(after))


def test_two_accumulation_steps_are_one(whole: dict[str, Tensor], trainings: Trainings, tmp_path: Path) -> None:
    alike(whole, finished(trainings, tmp_path, accumulation=2))


def test_in_half_precision_the_copy_moves_and_a_nan_leaves_it_one_step_behind(
    trainings: Trainings, tmp_path: Path
) -> None:
    found = finished(trainings, tmp_path, precision="bf16", bad=3)
    assert int(found["queue.pointer"]) == (STEPS - 1) * BATCH % QUEUE
    assert all(x.isfinite().all() for x in found.values())
    for name, x in found.items():
        if name.startswith("teacher."):
            reference = found[name.replace("teacher.", "double.")]
            torch.testing.assert_close(x.double(), reference, rtol=1e-5, atol=1e-6)
    before, after, later = (
        load_file(tmp_path / "run" / "checkpoints" / f"step-{step:09}" / "beyond.safetensors") for step in (3, 4, 5)
    )
    equal(before, after)
    assert all(not torch.equal(after[n], later[n]) for n in after if n != "queue.filled")
