"""The kill matrix: a training that is killed at random moments, inside saves too, ends with the same bits."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.kills import CELLS, STEPS, Report, Trainings, kill_and_compare, losses

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trainings(tiny_inputs: Path) -> Trainings:
    return Trainings(tiny_inputs)


def matrix(trainings: Trainings, folder: Path, kills: list[int], seed: int) -> Report:
    """`kills[i]` of cell i."""
    whole = Report()
    for cell, number in zip(CELLS, kills, strict=True):
        name = f"{cell.ranks}-{cell.accumulation}-{cell.precision}"
        reference = folder / f"reference-{name}"
        settings = {"accumulation": cell.accumulation, "precision": cell.precision}
        trainings.finish(reference, cell.ranks, **settings)
        found = kill_and_compare(trainings, folder / name, reference, cell, number, seed)
        print(f"{name}: {found.kills} kills, in {dict(found.hit)}, {found.resumed} resumed", flush=True)
        whole.kills, whole.resumed, whole.hit = (
            whole.kills + found.kills,
            whole.resumed + found.resumed,
            whole.hit + found.hit,
        )
    return whole


def test_twelve_kills_change_no_bit(trainings: Trainings, tmp_path: Path) -> None:
    found = matrix(trainings, tmp_path, [2, 1, 1, 2, 2, 1, 1, 2], seed=1)
    assert found.kills == 12 and found.resumed >= 6


@pytest.mark.long
def test_two_hundred_kills_change_no_bit(trainings: Trainings, tmp_path: Path) -> None:
    found = matrix(trainings, tmp_path, [25] * len(CELLS), seed=2)
    print(f"{found.kills} kills, in {dict(found.hit)}; {found.resumed} resumed from a checkpoint, all bit-equal")
    assert found.kills == 200 and found.hit["a save"] >= 20 and found.hit["a step"] >= 20


def test_the_matrix_notices_a_changed_bit(trainings: Trainings, tmp_path: Path) -> None:
    """What is compared depends on the data order: another seed's losses are not those of the reference."""
    trainings.finish(tmp_path / "one", 1)
    trainings.finish(tmp_path / "other", 1, learning_rate=1.0001e-3)
    one, other = losses(tmp_path / "one"), losses(tmp_path / "other")
    assert len(one) == len(other) == STEPS and one != other
