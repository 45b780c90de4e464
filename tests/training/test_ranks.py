"""Another number of ranks in the middle of a training; every ZeRO stage and precision."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file

from tests.training.kills import STEPS, Trainings, losses, newest_step, stage_2
from tests.training.tiny_run import experiment, masked_pairs, paths, weights
from vlp.batching.batch import Batch
from vlp.batching.draw import Draw
from vlp.batching.inputs import Inputs
from vlp.errors import Preempted, VlpError
from vlp.methods.mvptr.model import set_dropout
from vlp.methods.mvptr.start import new_model
from vlp.methods.mvptr.steps import PretrainingStep
from vlp.runs.pretrain import CaptionPairs
from vlp.training import engine
from vlp.training.loop import train


class Naming(CaptionPairs):
    """Writes down the samples of each micro-batch; asks its training to stop when it comes to step `until`."""

    path: Path
    until: int

    def batch(self, indices, draw) -> Batch:
        with self.path.open("a") as f:
            f.write(f"{draw.step} {draw.part} {' '.join(self.ids(indices))}\n")
        if (draw.step, draw.part) == (self.until, 0):
            os.kill(os.getpid(), signal.SIGTERM)
        return super().batch(indices, draw)


def naming(folder: Path, inputs: Path, settings: dict[str, Any]) -> None:
    """A rank of stage 2: all six losses, without dropout."""
    until = settings.pop("until", STEPS)
    e = experiment(**settings)
    read_from, o = Inputs(e, paths(inputs)), e.pretraining.stage2
    model = new_model(read_from)
    set_dropout(model, 0.0)  # it is drawn for each micro-batch
    source = Naming(masked_pairs(read_from, o))
    source.path, source.until = folder / "samples.txt", until
    try:
        train(PretrainingStep(model, o.losses), model, source, o, folder / "run", 5, "f")
    except Preempted as stop:
        assert until <= stop.step <= until + 1


@pytest.mark.slow
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
    assert [other[s] for s in sorted(other)] == pytest.approx([one[s] for s in sorted(one)], rel=2e-6)
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


SHORT: dict[str, Any] = {"epochs": 4 * 8 / 40, "dropout": 0.0}


def partitioned(folder: Path, inputs: Path, settings: dict[str, Any]) -> None:
    """A rank of stage 2; with ZeRO 3 none of its parameters is whole. With `until` it is told to stop there."""
    until = settings.pop("until", None)
    whole = CaptionPairs.batch

    def batch(self: CaptionPairs, indices: Any, draw: Draw) -> Batch:
        if draw.step == until:
            os.kill(os.getpid(), signal.SIGTERM)
        return whole(self, indices, draw)

    stops = contextlib.nullcontext() if until is None else pytest.raises(Preempted)
    with mock.patch.object(engine, "PERSISTENT", 0), mock.patch.object(CaptionPairs, "batch", batch), stops:
        stage_2(folder, inputs, settings)


@pytest.fixture(scope="module")
def default(tiny_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Two ranks with ZeRO 2, undisturbed, in a precision."""

    @functools.cache
    def made(precision: str) -> Path:
        folder = tmp_path_factory.mktemp(precision)
        Trainings(tiny_inputs).finish(folder, 2, precision=precision, **SHORT)
        return folder

    return made


ROUNDING = {"fp32": 2e-5, "bf16": 1e-2}
"""Of losses and weights: orders of summation differ. The rate is 1e-3, so a step that is left out shows in both."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "zero_stage, precision",
    [(0, "fp32"), (3, "fp32"), (0, "bf16")]
    + [pytest.param(z, p, marks=pytest.mark.long) for z, p in ((1, "fp32"), (1, "bf16"), (3, "bf16"))],
)
def test_every_zero_stage_is_saved_resumed_and_exported_as_the_default(
    zero_stage: int, precision: str, default: Callable[[str], Path], tiny_inputs: Path, tmp_path: Path
) -> None:
    trainings, settings = Trainings(tiny_inputs), {"zero_stage": zero_stage, "precision": precision, **SHORT}
    trainings.finish(tmp_path, 2, partitioned, until=2, **settings)
    assert not weights(tmp_path).exists() and len(losses(tmp_path)) == newest_step(tmp_path) in (2, 3)
    trainings.finish(tmp_path, 2, partitioned, **settings)
    expected = default(precision)
    assert [step for step, _ in losses(tmp_path)] == [1, 2, 3, 4]
    assert dict(losses(tmp_path)) == pytest.approx(dict(losses(expected)), rel=ROUNDING[precision])
    found, wanted = load_file(weights(tmp_path)), load_file(weights(expected))
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=0.0, atol=ROUNDING[precision], msg=name)


@pytest.mark.long
def test_the_embedding_cache_reads_whole_weights(tiny_inputs: Path, tmp_path: Path) -> None:
    trainings, settings = Trainings(tiny_inputs), {"embedding_cache": True, "accumulation": 2, **SHORT}
    for stage in (2, 3):
        trainings.finish(tmp_path / str(stage), 2, partitioned, zero_stage=stage, **settings)
    one, other = (dict(losses(tmp_path / str(stage))) for stage in (2, 3))
    assert len(one) == 4 and other == pytest.approx(one, rel=ROUNDING["fp32"])


@pytest.mark.slow
def test_fp16_is_refused_where_the_device_can_not_do_it(tiny_inputs: Path, tmp_path: Path) -> None:
    from tests.training.tiny_run import train as train_tiny
    from vlp.config.launch import Resources

    with pytest.raises(VlpError, match=r"precision: fp16 needs GPUs, and gpus_per_node is 0"):
        train_tiny(tiny_inputs, tmp_path, "stage1", Resources(executor="inline"), precision="fp16")
