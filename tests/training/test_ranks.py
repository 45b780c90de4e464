"""Another number of ranks in the middle of a training; every ZeRO stage and precision."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.training.kills import STEPS, Trainings, losses
from tests.training.tiny_run import experiment, paths, weights
from vlp.batching.batch import Batch
from vlp.errors import Preempted, VlpError
from vlp.models.mvptr import set_dropout
from vlp.training.inputs import Inputs
from vlp.training.loop import train
from vlp.training.pretrain import CaptionPairs, new_model
from vlp.training.steps import PretrainingStep


class Naming(CaptionPairs):
    """Writes down the samples of each micro-batch; asks its training to stop when it comes to step `until`."""

    path: Path
    until: int

    def batch(self, indices, places, global_size, step, part) -> Batch:
        with self.path.open("a") as f:
            f.write(f"{step} {part} {' '.join(self.ids(indices))}\n")
        if (step, part) == (self.until, 0):
            os.kill(os.getpid(), signal.SIGTERM)
        return super().batch(indices, places, global_size, step, part)


def naming(folder: Path, inputs: Path, settings: dict[str, Any]) -> None:
    """A rank of stage 2: all six losses, without dropout."""
    until = settings.pop("until", STEPS)
    e = experiment(**settings)
    read_from, o = Inputs(e, paths(inputs)), e.pretraining.stage2
    model = new_model(read_from)
    set_dropout(model, 0.0)  # it is drawn for each micro-batch
    source = Naming(read_from.collator("captions"), e.masking, 5, o)
    source.path, source.until = folder / "samples.txt", until
    try:
        train(PretrainingStep(model, o.losses), model, source, o, folder / "run", 5, "f")
    except Preempted as stop:
        assert until <= stop.step <= until + 1


@pytest.mark.parametrize(
    "zero_stage", [2, pytest.param(1, marks=pytest.mark.long), pytest.param(3, marks=pytest.mark.long)]
)
def test_one_two_one_ranks_lose_nothing(zero_stage: int, tiny_inputs: Path, tmp_path: Path) -> None:
    """Without dropout, hard negatives within groups of places: the losses are those of one rank, to rounding."""
    trainings = Trainings(tiny_inputs)
    settings: dict[str, Any] = {"negative_group": 2, "zero_stage": zero_stage}
    whole, changed = tmp_path / "whole", tmp_path / "changed"
    trainings.finish(whole, 1, naming, **settings)
    for ranks, until in ((1, 4), (2, 8), (1, STEPS)):
        trainings.finish(changed, ranks, naming, until=until, **settings)
        assert f"read by {ranks}" in (changed / "rank-0.log").read_text() or until == 4
    one, other = dict(losses(whole)), dict(losses(changed))
    assert sorted(one) == sorted(other) == list(range(1, STEPS + 1))
    assert [other[s] for s in sorted(other)] == pytest.approx([one[s] for s in sorted(one)], rel=2e-4)
    assert samples(whole) == samples(changed)
    for epoch in (samples(changed)[:40], samples(changed)[40:80]):
        assert len(set(epoch)) == 40


def samples(folder: Path) -> list[str]:
    """The samples in the order of their places, over the steps; what was done twice counts once."""
    parts: dict[int, dict[str, list[str]]] = {}
    for line in (folder / "samples.txt").read_text().splitlines():
        step, part, *ids = line.split()
        held = parts.setdefault(int(step), {})
        # A step that was done by one rank and again by two has parts of both sizes; either way they are its samples.
        assert len(ids) in (4, 8)
        held[f"{len(ids)}-{part}"] = ids
    found = []
    for step in range(STEPS):
        whole = [i for name, ids in sorted(parts[step].items()) if name.startswith("8-") for i in ids]
        halves = [i for name, ids in sorted(parts[step].items()) if name.startswith("4-") for i in ids]
        assert not (whole and halves) or whole == halves
        assert len(whole or halves) == 8
        found += whole or halves
    return found


SHORT = {"epochs": 4 * 8 / 40, "checkpoint_steps": 2, "dropout": 0.0}


@pytest.mark.parametrize(
    "zero_stage, precision",
    [(0, "fp32"), (3, "fp32"), (0, "bf16")]
    + [pytest.param(z, p, marks=pytest.mark.long) for z, p in ((1, "fp32"), (1, "bf16"), (2, "bf16"), (3, "bf16"))],
)
def test_every_zero_stage_trains_as_the_default(
    zero_stage: int, precision: str, tiny_inputs: Path, tmp_path: Path
) -> None:
    trainings = Trainings(tiny_inputs)
    trainings.finish(tmp_path / "default", 2, **SHORT)
    trainings.finish(tmp_path / "other", 2, zero_stage=zero_stage, precision=precision, **SHORT)
    expected, found = dict(losses(tmp_path / "default")), dict(losses(tmp_path / "other"))
    assert len(found) == 4 and weights(tmp_path / "other").exists()
    rounding = 1e-4 if precision == "fp32" else 3e-2
    assert list(found.values()) == pytest.approx(list(expected.values()), rel=rounding)


def test_fp16_is_refused_where_the_device_can_not_do_it(tiny_inputs: Path, tmp_path: Path) -> None:
    from tests.training.tiny_run import train as train_tiny
    from vlp.config.launch import Resources

    with pytest.raises(VlpError, match=r"precision fp16: DeepSpeed does not do it on this device. Use bf16 or fp32"):
        train_tiny(tiny_inputs, tmp_path, "stage1", Resources(executor="inline"), precision="fp16")
