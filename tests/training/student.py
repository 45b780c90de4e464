"""A training with all that stands beside the parameters: a small student, its teacher and a queue of its vectors."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vlp.batching import batch as batching
from vlp.batching.draw import Draw
from vlp.config.training import Plan
from vlp.errors import Preempted
from vlp.objectives import LossSum
from vlp.training.base import Group
from vlp.training.beyond import Momentum, Queue, Several
from vlp.training.loop import Training
from vlp.training.schedule import by_shape

SAMPLES, BATCH, ROWS, MOMENTUM = 40, 8, 20, 0.995
STEPS = 8


def plan(**changed: Any) -> Plan:
    usual = {"epochs": STEPS * BATCH / SAMPLES, "batch_size": BATCH, "learning_rate": 0.01, "log_every": 1}
    return Plan.model_validate({**usual, "checkpoint_steps": 1, **changed})


@dataclass
class Batch(batching.Batch):
    x_BF: Tensor
    sample_B: Tensor

    def __len__(self) -> int:
        return len(self.x_BF)


class Source:
    """Sample i is always the same; `bad` batches have a NaN, that of `until` asks the training to stop."""

    lengths = np.ones(SAMPLES, np.int64)

    def __init__(self, bad: int | None = None, until: int | None = None, spike: int | None = None) -> None:
        self.x = torch.from_numpy(np.random.default_rng(0).normal(size=(SAMPLES, 4)).astype(np.float32))
        self.bad, self.until, self.spike = bad, until, spike

    def ids(self, indices: np.ndarray) -> list[str]:
        return [str(i) for i in indices]

    def batch(self, indices: np.ndarray, draw: Draw) -> Batch:
        x = self.x[indices].clone()
        if draw.step == self.bad and draw.places.start == 0:
            x[0, 0] = torch.nan
        if draw.step == self.spike:
            x *= 100
        if draw.step == self.until:
            os.kill(os.getpid(), signal.SIGTERM)
        return Batch(x, torch.from_numpy(indices).long())


class Noting(Several):
    """Keeps what it was after each step, and a teacher in double precision."""

    def start(self, module: nn.Module) -> None:
        self.after: list[tuple[bool, dict[str, Tensor]]] = []
        self.restored: dict[str, Tensor] = {}
        self.double = {
            f"teacher.{n}": p.detach().double() for n, p in module.get_submodule("encoder").named_parameters()
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        super().restore(state)
        self.restored = dict(state)

    def advance(self, module: nn.Module, applied: bool) -> None:
        super().advance(module, applied)
        if applied:
            for name, p in module.get_submodule("encoder").named_parameters():
                self.double[f"teacher.{name}"].mul_(MOMENTUM).add_(p.detach().double(), alpha=1 - MOMENTUM)
        self.after.append((applied, {k: x.clone() for k, x in self.state().items()}))


class Student(nn.Module):
    """Learns to be near its teacher and far from what stands in the queue."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.head = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), nn.Linear(3, 4)
        queue = Queue(vector=torch.zeros(ROWS, 3), sample=torch.zeros(ROWS, dtype=torch.int64))
        self.beyond = Noting(teacher=Momentum(self, "encoder", MOMENTUM), queue=queue)
        self.beyond.start(self)

    def groups(self) -> list[Group]:
        parameters = dict(self.named_parameters())
        head = {n: p for n, p in parameters.items() if n.startswith("head")}
        slow = by_shape({n: p for n, p in parameters.items() if n not in head}, 0.5)
        return [*slow, Group(list(head), decay=0.0, betas=(0.8, 0.95))]

    def counts(self, batch: Batch) -> dict[str, int]:
        return {"near": len(batch), "far": len(batch)}

    def forward(self, batch: Batch) -> dict[str, LossSum]:
        x = batch.x_BF.to(self.head.weight.dtype)
        vector, queue = self.encoder(x), self.beyond["queue"]
        taught = self.beyond["teacher"](x)
        queue.offer(vector=taught, sample=batch.sample_B)
        near = ((vector - taught - 0.1).float() ** 2).sum() + ((self.head(vector) - x).float() ** 2).sum()
        far = ((vector.float() @ queue["vector"].T) ** 2).mean(1).sum()
        return {"near": LossSum.of(near, len(batch)), "far": LossSum.of(far, len(batch))}


def trained(folder: Path, source: Source, o: Plan) -> Training:
    """Within a process group; to the end, or until the source asks it to stop."""
    step = Student()
    training = Training(step, step, source, o, folder / "run", 5, "f", None, None)
    try:
        training.run()
    except Preempted:
        assert source.until is not None
    return training


def student(folder: Path, _: Path, settings: dict[str, Any]) -> None:
    """A rank; it leaves behind what it has in the end."""
    own = {name: settings.pop(name) for name in ("bad", "until") if name in settings}
    for of_mvptr in ("epochs", "keep_checkpoints"):
        settings.pop(of_mvptr)
    training = trained(folder, Source(**own), plan(**settings))
    leave(training, folder / f"state-{training.rank}.safetensors")


def leave(training: Training, path: Path) -> None:
    step = training.module
    assert isinstance(step, Student)
    betas = {f"betas.{n}": torch.tensor(g["betas"]) for n, g in enumerate(training.engine.optimizer.param_groups)}
    weights = {f"weights.{n}": p.detach().float().clone() for n, p in step.named_parameters()}
    save_file({**weights, **step.beyond.state(), **betas}, path)


def left(folder: Path, rank: int = 0) -> dict[str, Tensor]:
    return load_file(folder / f"state-{rank}.safetensors")
