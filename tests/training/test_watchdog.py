"""A rank that hangs is named, with the place it stands at, and the job ends."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.training.kills import PATIENCE, Trainings
from tests.training.tiny_run import experiment, masked_pairs, paths
from vlp.batching.inputs import Inputs
from vlp.files import read_json
from vlp.methods.mvptr.start import new_model
from vlp.methods.mvptr.steps import PretrainingStep
from vlp.runs.pretrain import CaptionPairs
from vlp.training.loop import train
from vlp.training.watchdog import EXIT_CODE, Watchdog


class Sleepy(CaptionPairs):
    """Rank 1 falls asleep when it makes its micro-batch of step 3."""

    def batch(self, indices, draw):
        if (draw.step, draw.part) == (3, 1):
            fall_asleep()
        return super().batch(indices, draw)


def fall_asleep() -> None:
    time.sleep(10 * PATIENCE)


def sleepy(folder: Path, inputs: Path, settings: dict) -> None:
    e = experiment(**settings)
    read_from, o = Inputs(e, paths(inputs)), e.pretraining.stage1
    assert o is not None
    model = new_model(read_from)
    source = Sleepy(masked_pairs(read_from, o))
    train(PretrainingStep(model, o.losses), model, source, o, folder / "run", 5, "f")


@pytest.mark.slow
def test_a_sleeping_rank_is_named_and_the_job_ends(tiny_inputs: Path, tmp_path: Path) -> None:
    with Trainings(tiny_inputs).started(tmp_path, 2, sleepy, hang_minutes=0.15) as processes:
        for p in processes:
            p.join(PATIENCE)
        codes = [p.exitcode for p in processes]
    assert codes[0] == EXIT_CODE and codes[1] in (EXIT_CODE, -9)
    said = (tmp_path / "rank-0.log").read_text()
    assert "rank 0: no progress for 9 s; behind the others is rank 1 on " in said
    assert "at step 3: waiting for data" in said and "goes on from the newest checkpoint" in said
    assert "fall_asleep" in (tmp_path / "run" / "watchdog" / "stacks-1.txt").read_text()


def test_what_moves_or_may_take_long_is_left_alone(tmp_path: Path) -> None:
    left: list[int] = []
    with Watchdog(tmp_path, 0, 1, 0.4, left.append) as watch:
        for step in range(8):
            watch.at(step, "forward")
            time.sleep(0.1)
        with watch.paused():
            time.sleep(0.8)
        watch.at(9, "forward")
    assert not left and read_json(tmp_path / "rank-0.json")["host"]


def test_a_training_whose_ranks_all_stand_ends_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left: list[int] = []
    with Watchdog(tmp_path, 0, 1, 0.2, left.append) as watch:
        watch.at(4, "agreeing on the step")
        end = time.monotonic() + 30
        while not left and time.monotonic() < end:
            time.sleep(0.02)
    assert left == [EXIT_CODE]
    assert "all ranks stand: rank 0 on " in capsys.readouterr().err
    assert "test_a_training_whose_ranks_all_stand_ends_too" in (tmp_path / "stacks-0.txt").read_text()
