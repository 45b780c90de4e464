"""What keeps a training from being spoilt: numbers that are not finite, spikes of the loss, too little memory."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vlp.batching.batch import Batch
from vlp.errors import VlpError

WINDOW = 100
"""Steps whose median a spike is measured by."""
LEAST = 20
"""Steps before there is a median worth the name."""
MOST_ROLLBACKS = 10
DUMPS = 10
"""Batches of so many left out steps are written; the disk is not to be filled by a training that has gone wrong."""


class NotFinite:
    """Counts the steps that were left out, and writes their batches to `folder`."""

    def __init__(self, folder: Path, limit: int, rank: int) -> None:
        self.folder, self.limit, self.rank = folder, limit, rank
        self.in_a_row = self.total = 0
        self.any_applied = False

    def applied(self) -> None:
        self.in_a_row, self.any_applied = 0, True

    def skipped(self, step: int, values: dict[str, float], ids: Sequence[Sequence[str]], batches: list[Batch]) -> None:
        """Every rank calls this for the same step.

        Raises:
            VlpError: too many in a row.
        """
        self.in_a_row, self.total = self.in_a_row + 1, self.total + 1
        path = self.folder / f"step-{step:09d}" / f"rank-{self.rank}.pt"
        if self.total <= DUMPS:
            path.parent.mkdir(parents=True, exist_ok=True)
            content = [{"ids": list(i), "batch": tensors(b)} for i, b in zip(ids, batches, strict=True)]
            torch.save({"step": step, "losses": values, "micro_batches": content}, path)
        what = "the loss" if not math.isfinite(values["loss"]) else "a gradient"
        shown = ", ".join(f"{k.removeprefix('loss_')} {v:g}" for k, v in values.items() if k.startswith("loss_"))
        said = f"step {step}: {what} is not finite ({shown}); the step is left out, its batch is in {path.parent}"
        if self.rank == 0:
            print(said, flush=True)
        if self.in_a_row > self.limit:
            look = "Look at the batches"
            if not self.any_applied:
                look = "No step of this run was applied: look at the model that it starts from, then at the batches"
            raise VlpError(
                f"{said}. That was number {self.in_a_row} in a row; the weights are those of before. {look}; a lower "
                "learning_rate or precision: bf16 instead of fp16 may help. Run again to go on from the newest "
                "checkpoint."
            )


def tensors(batch: Batch) -> dict[str, Any]:
    """The batch as plain tensors and mappings, so that it can be read without this package."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return value.cpu() if isinstance(value, torch.Tensor) else value

    return plain(batch)


class Spikes:
    """Knows a spike: a loss above `factor` times the median of the last steps."""

    def __init__(self, factor: float | None) -> None:
        self.factor, self.rollbacks = factor, 0
        self._losses: deque[float] = deque(maxlen=WINDOW)

    def seen(self, loss: float) -> bool:
        """True: this loss is a spike (it then does not count for the median)."""
        if self.factor is None or not math.isfinite(loss):
            return False
        if len(self._losses) >= LEAST and loss > self.factor * statistics.median(self._losses):
            return True
        self._losses.append(loss)
        return False

    def rolled_back(self, step: int, loss: float, to: int) -> None:
        """Raises VlpError: it happened too often."""
        self.rollbacks += 1
        self._losses.clear()
        if self.rollbacks > MOST_ROLLBACKS:
            raise VlpError(
                f"step {step}: the loss {loss:g} is a spike, number {self.rollbacks} of this run; going back does not "
                "help. Use a lower learning_rate or a longer warmup, or a larger spike_factor."
            )
        if torch.distributed.get_rank() == 0:
            print(f"step {step}: the loss {loss:g} is a spike; back to step {to}, without these batches", flush=True)


def out_of_memory(error: BaseException, micro: int, accumulation: int, zero_stage: int) -> VlpError | None:
    """The remedy, if `error` tells of too little memory (of a GPU, or of the host)."""
    short = isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
    if not short:
        return None
    smaller = f"accumulation: {2 * accumulation} (micro-batches of {micro // 2} in place of {micro})"
    stage = f", or zero_stage: {zero_stage + 1}" if zero_stage < 3 else ""
    first = f"Set {smaller}" if micro > 1 else "Use more ranks"
    advice = f"{first}{stage}, or shorter `lengths`; the checkpoints fit these settings too. ({error})"
    return VlpError(f"out of memory with micro-batches of {micro} samples. {advice}")
