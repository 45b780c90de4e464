"""A step on a GPU makes the host wait where it is planned and nowhere else.

Told without a GPU, on fake tensors, which have a shape and no numbers, so whatever needs a number on the host raises:
`item`, `if`, a selection whose size depends on the data. The GPU's path runs forward on fake CUDA tensors, where copies
show too; backward, which would ask the driver for a device, on fake CPU tensors with the CPU's removal of padding off.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.methods.mvptr.tiny import architecture
from tests.objectives.batches import batch
from tests.training import tiny_run
from vlp.batching.order import Layout
from vlp.config.launch import Resources
from vlp.methods.mvptr.batch import Batch, Targets
from vlp.methods.mvptr.model import Mvptr
from vlp.methods.mvptr.steps import PretrainingStep, RetrievalStep
from vlp.models.layers import Packing
from vlp.objectives import LossSum
from vlp.training import counts
from vlp.training.contrast import Cached, cache
from vlp.training.loop import Training

mcr = importlib.import_module("vlp.methods.mvptr.objectives.mcr")
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
STAGE_1 = ("mcr_visual", "mcr_text", "vsc")
STAGE_2 = (*STAGE_1, "mlm", "itm", "wpg")


class Host:
    """Numbers that stay on the host and are no tensor: all that can be done with them is to read them there."""

    def __init__(self, x: Tensor) -> None:
        self._numbers = x.numpy()

    def __len__(self) -> int:
        return len(self._numbers)

    def numpy(self) -> np.ndarray:
        return self._numbers


class Transfers(TorchDispatchMode):
    """What crosses between host and device, the planned ones apart."""

    def __init__(self) -> None:
        super().__init__()
        self.pinned: list[Tensor] = []
        self.copies = self.waits = 0
        """To the host: planned copies that were launched, and those that were waited for."""

    def __torch_dispatch__(self, f: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = f(*args, **(kwargs or {}))
        given, made = ([x for x in tree_leaves(t) if isinstance(x, Tensor)] for t in ((args, kwargs), out))
        to_host = any(x.is_cuda for x in given) and any(not x.is_cuda for x in made)
        # A number without dimensions is handed over with the kernel.
        from_host = [x for x in given if not x.is_cuda and x.dim()] if any(x.is_cuda for x in made) else []
        assert not to_host, f"{f}: the host waits for its result"
        assert all(any(x is p for p in self.pinned) for x in from_host), f"{f}: a copy that is not page-locked waits"
        return out

    def pin(self, x: Tensor) -> Tensor:
        self.pinned.append(x)
        return x

    def host_copy(self, x: Tensor) -> Any:
        self.copies += 1
        read: list[int] = []

        def numpy() -> np.ndarray:
            self.waits += not read
            read.append(1)
            return np.linspace(0.1, 0.9, x.numel())

        return SimpleNamespace(numpy=numpy)


@contextmanager
def fake() -> Iterator[Transfers]:
    found = Transfers()
    with (
        mock.patch.object(Packing, "of", lambda mask: None),
        mock.patch.object(mcr, "HostCopy", found.host_copy),
        mock.patch.object(Tensor, "pin_memory", lambda x: found.pin(x)),
        FakeTensorMode(allow_non_fake_inputs=True),
        found,
    ):
        yield found


def hosted(size: int = 6, seed: int = 0) -> Batch:
    """A batch whose numbers of samples and concepts are the host's. Made before `fake`, or they would be fake too."""
    b = batch(size, seed)
    b.matchable_B = torch.arange(size) % 3 > 0
    for name in ("words", "phrases", "tags"):
        t = getattr(b, name)
        sample, concept = Host(t.sample_M), Host(t.concept_M)
        setattr(b, name, Targets(sample, t.position_M, t.label_M, concept, t.sample_M))  # type: ignore[arg-type]
    return b


def moved(b: Batch, device: torch.device) -> Batch:
    """As `Batch.to` leaves it."""

    def on(x: Any) -> Any:
        return torch.empty(x.shape, dtype=x.dtype, device=device) if isinstance(x, Tensor) else x

    parts: dict[str, Any] = {}
    for field in dataclasses.fields(b):
        x = getattr(b, field.name)
        parts[field.name] = Targets(*map(on, vars(x).values())) if isinstance(x, Targets) else on(x)
    return Batch(**parts)


def fresh(device: torch.device, **changes: Any) -> Mvptr:
    with device:
        return Mvptr(architecture(3).model_copy(update=changes)).train()


def run(step: torch.nn.Module, b: Batch, device: torch.device, *cached: Cached) -> None:
    losses: dict[str, LossSum] = step(moved(b, device), *cached)
    loss = counts.normalised(losses, counts.over_ranks(dict.fromkeys(losses, 3), device), 1)
    if device == CPU:
        loss.backward()


either = pytest.mark.parametrize("device", [CPU, CUDA], ids=["backward", "cuda"])


@either
@pytest.mark.parametrize("losses", [STAGE_1, STAGE_2], ids=["stage1", "stage2"])
def test_a_step_of_pre_training_waits_once(losses: tuple[str, ...], device: torch.device) -> None:
    b = hosted()
    with fake() as found:
        run(PretrainingStep(fresh(device), losses, wpg_negatives="all"), b, device)
    assert (found.copies, found.waits) == (1, 1), "both MCR losses share a copy"


@either
def test_merged_attention_and_retrieval(device: torch.device) -> None:
    b, merged = hosted(), {"fusion": "merged", "text_layers": 0, "visual_layers": 0}
    with fake() as found:
        run(PretrainingStep(fresh(device, **merged), tuple(x for x in STAGE_2 if x != "vsc")), b, device)
        assert found.waits == 1
        run(RetrievalStep(fresh(device)), b, device)
        run(RetrievalStep(fresh(device, **merged)), b, device)
    assert found.waits == 1


def test_the_embedding_cache_waits_no_more() -> None:
    parts = [hosted(4, 0), hosted(4, 1)]
    with fake() as found:
        step = PretrainingStep(fresh(CPU), STAGE_1, contrast_group=2)
        cached = cache(step, [moved(b, CPU) for b in parts], Layout(8, 1, 2), 0, lambda part: None)
        assert found.waits == 0
        for b, c in zip(parts, cached, strict=True):
            run(step, b, CPU, c)
    assert (found.copies, found.waits) == (2, 2), "one for each micro-batch's matching"


def test_the_ranks_agree_in_one_wait() -> None:
    """Losses, a due checkpoint and stop signals come to the host together."""
    training: Any = SimpleNamespace(rank=0, world=1, saved=0.0, device=CUDA)
    training.o, training.stop = SimpleNamespace(checkpoint_minutes=1), SimpleNamespace(flags=lambda: [0.0, 0.0])
    read: list[Tensor] = []
    with fake(), mock.patch.object(FakeTensor, "tolist", lambda x: read.append(x) or [0.5] * x.numel()):
        losses = {name: torch.zeros((), dtype=torch.float64, device=CUDA) for name in STAGE_2}
        agreed = Training._agree(training, losses, counts.over_ranks(dict.fromkeys(STAGE_2, 3), CUDA))
    assert len(read) == 1 and agreed.losses["loss"] == 0.5 * len(STAGE_2)


class Waits(TorchDispatchMode):
    """Operations of a real training on the CPU for which a GPU would have to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, f: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = f.overloadpacket.__name__
        by_mask = [x for x in tree_leaves(args[1:2]) if isinstance(x, Tensor) and x.dtype == torch.bool]
        if name in WAITING or (name in ("index", "index_put", "index_put_") and by_mask):
            self.found.append(name)
        return f(*args, **(kwargs or {}))


WAITING = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "_unique2", "repeat_interleave")


@pytest.mark.slow
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_whole_step_with_the_engine(accumulation: int, tiny_inputs: Path, tmp_path: Path) -> None:
    """Before the ranks agree nobody asks for a number. After it, when the device has nothing left to do but the
    optimiser's step, DeepSpeed looks at the gradients' norm three times (0.19.8, ZeRO 2)."""
    steps: list[dict[str, int]] = []
    plain, agree = Training._step, Training._agree
    waits = Waits()

    def step(self: Training, work: Any) -> Any:
        waits.found.clear()
        with waits:
            agreed = plain(self, work)
        steps[-1]["all"] = len(waits.found)
        return agreed

    def agreeing(self: Training, *losses: Any) -> Any:
        steps.append({"before": len(waits.found)})
        return agree(self, *losses)

    with (
        mock.patch.object(Packing, "of", lambda mask: None),
        mock.patch.object(Training, "_step", step),
        mock.patch.object(Training, "_agree", agreeing),
    ):
        settings = {"epochs": 3 * 8 / 40, "accumulation": accumulation}
        tiny_run.train(tiny_inputs, tmp_path, "stage2", Resources(executor="inline"), **settings)
    assert steps == [{"before": 0, "all": 3}] * 3


def test_waits_that_are_not_planned_are_seen() -> None:
    x_shape = (3,)
    with fake():
        x = torch.ones(x_shape, device=CUDA)
        for wait in (lambda: x.sum().item(), lambda: bool(x.any()), lambda: x.tolist()):
            with pytest.raises(DataDependentOutputException):
                wait()
        for select in (lambda: x[x > 0], lambda: x.nonzero(), lambda: x.masked_select(x > 0)):
            with pytest.raises(DynamicOutputShapeException):
                select()
        with pytest.raises(AssertionError, match="the host waits"):
            x.cpu()
        with pytest.raises(AssertionError, match="not page-locked"):
            torch.arange(3).to(CUDA)
