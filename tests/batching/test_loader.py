"""Batches come in order and equal, whoever makes them."""

from __future__ import annotations

import dataclasses
import os
import signal

import pytest
import torch
from torch import Tensor

from tests.methods.mvptr.tiny import batch
from vlp.batching.loader import MOST_WORKERS, ahead, early, workers
from vlp.errors import InputError
from vlp.methods.mvptr.batch import Batch, Targets


def load(step: int) -> list[Batch]:
    """Two micro-batches; `labels_B` tells the process that made them."""
    made = [batch(2, seed=2 * step + i) for i in range(2)]
    for b in made:
        b.words = Targets(*(torch.tensor([step]) for _ in range(4)))
        b.labels_B = torch.tensor([os.getpid()])
    return made


@pytest.mark.slow
@pytest.mark.parametrize("processes", [0, 2])
def test_batches_are_those_of_their_steps(processes: int) -> None:
    makers = set()
    with ahead(load, 3, 8, processes, pin=False) as loader:
        found = list(loader)
    assert len(found) == 5
    for step, batches in zip(range(3, 8), found, strict=True):
        for ours, wanted in zip(batches, load(step), strict=True):
            makers.add(int(ours.labels_B[0]) if ours.labels_B is not None else 0)
            assert ours.words is not None and ours.words.label_M.tolist() == [step]
            for field in dataclasses.fields(Batch):
                one, other = getattr(ours, field.name), getattr(wanted, field.name)
                if field.name != "labels_B" and isinstance(other, Tensor):
                    assert torch.equal(one, other), field.name
                else:
                    assert type(one) is type(other)
    assert makers == {os.getpid()} if not processes else len(makers) == 2 and os.getpid() not in makers


def test_the_first_may_be_made_before() -> None:
    made = early(load, 3)
    with ahead(load, 3, 6, 0, pin=False, first=made) as loader:
        found = list(loader)
    assert found[0] is made.result() and [int(b[0].words.label_M) for b in found if b[0].words] == [3, 4, 5]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [0, 2])
def test_nothing_to_do_and_errors(processes: int) -> None:
    def broken(step: int) -> list[Batch]:
        if step == 1:
            raise InputError("corpus.h5", "is cut short.", "Build it again.", row="7")
        return load(step)

    with ahead(load, 4, 4, processes, pin=False) as loader:
        assert list(loader) == []
    with ahead(broken, 0, 3, processes, pin=False) as loader:
        next(loader)
        with pytest.raises(Exception, match=r"corpus\.h5.*cut short"):
            next(loader)


@pytest.mark.slow
def test_a_signal_to_all_processes_does_not_end_the_workers() -> None:
    with ahead(load, 0, 12, 1, pin=False) as loader:
        first = next(loader)[0]
        assert first.labels_B is not None
        for kind in (signal.SIGTERM, signal.SIGUSR2):
            os.kill(int(first.labels_B[0]), kind)
        assert len(list(loader)) == 11


def test_workers_beside_a_gpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert workers(torch.device("cpu")) == 0
    for cores, ranks, expected in ((1, 1, 1), (16, 2, 7), (64, 2, MOST_WORKERS), (8, 1, 7)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=cores: set(range(n)))
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))
        assert workers(torch.device("cuda")) == expected


def test_all_that_goes_to_a_device_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[Tensor] = []
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: pinned.append(self) or self)
    b = load(1)[0]
    same = b.pin_memory()
    tensors = [v for f in dataclasses.fields(b) if isinstance(v := getattr(b, f.name), Tensor)]
    assert b.words is not None and same.words is not None
    tensors += [b.words.sample_M, b.words.position_M, b.words.label_M]
    assert {id(t) for t in pinned} == {id(t) for t in tensors}
    assert same.words.concept_M is b.words.concept_M
