"""The one training loop: both stages and every task."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import nn

from vlp.batching.batch import Batch
from vlp.batching.loader import ahead, workers
from vlp.batching.order import DROPOUT, generator, grouped_indices
from vlp.config.training import Optimisation
from vlp.errors import Preempted, VlpError
from vlp.files import atomic, read_json, sha256, write_json
from vlp.launch import fence
from vlp.objectives import LossSum
from vlp.tracking.journal import Journal
from vlp.training import checkpoint
from vlp.training.engine import initialise
from vlp.training.memory import keep_freed
from vlp.training.meter import Meter, peak_memory, peak_rate, shown
from vlp.training.schedule import learning_rate, steps
from vlp.training.signals import StopRequest, first_of


class Source(Protocol):
    """Where a run's batches come from: a pure function of the step."""

    @property
    def lengths(self) -> np.ndarray:
        """Length of each sample's text: samples of similar length share a batch."""
        ...

    def batch(self, indices: np.ndarray, places: slice, global_size: int, step: int, rank: int) -> Batch:
        """The samples `indices` (this rank's part of the global batch, at `places` of `global_size`)."""
        ...


@dataclass(frozen=True)
class Selection:
    """Validation during fine-tuning: `score()` on val (higher is better) at `times` points, the last step included."""

    score: Callable[[], float]
    times: int


def train(
    step_module: nn.Module,
    model: nn.Module,
    source: Source,
    o: Optimisation,
    run_dir: Path,
    seed: int,
    fingerprint: str,
    selection: Selection | None = None,
) -> dict[str, Any]:
    """Train `model` through `step_module` (batch -> named `LossSum`s); resumes from the newest good checkpoint.

    On return `model` holds the last weights, or with `selection` those that scored best on val.

    Args:
        fingerprint: digest of all that the result depends on; checkpoints of another one are not used.

    Returns:
        steps, samples_per_second, peak_memory_bytes; with `selection` also best_step and best_score.

    Raises:
        Preempted: SIGUSR2 or SIGTERM reached a rank; all of them have saved.
    """
    rank, world = dist.get_rank(), dist.get_world_size()
    micro, rest = divmod(o.batch_size, world * o.accumulation)
    if rest:
        raise VlpError(f"batch_size {o.batch_size} is not a multiple of {world} ranks x {o.accumulation} accumulation")
    lengths = source.lengths
    total = steps(o, len(lengths))
    engine = initialise(step_module, o)
    folder, best = run_dir / "checkpoints", Best(run_dir / "best.safetensors", fingerprint)
    found = checkpoint.newest(folder, fingerprint)
    start = checkpoint.restore(engine, *found) if found else 0
    dist.barrier()  # before rank 0 removes what another rank may still be looking at
    if not found and rank == 0:
        for stale in (folder, run_dir / "journal.jsonl"):
            shutil.rmtree(stale) if stale.is_dir() else stale.unlink(missing_ok=True)
        best.clear()
    dist.barrier()
    points = _evaluation_points(total, selection.times) if selection else set()
    journal = Journal(run_dir / "journal.jsonl", resume=True) if rank == 0 else None
    device, began, saved = engine.device, time.monotonic(), time.monotonic()
    if device.type == "cpu":
        keep_freed()
    meter = Meter(step_module, world, peak_rate(device, o.precision))
    log = Log(total, o.batch_size, start)

    def load(step: int) -> list[Batch]:
        indices = grouped_indices(lengths, o.batch_size, seed, step)
        batches = []
        for a in range(o.accumulation):
            first = (a * world + rank) * micro
            places = slice(first, first + micro)
            batches.append(source.batch(indices[places], places, o.batch_size, step, rank))
        return batches

    step_module.train()
    with ahead(load, start, total, workers(device), device.type == "cuda") as loader, StopRequest() as stop:
        for step in range(start, total):
            asked = time.monotonic()
            batches = next(loader)
            meter.waited(time.monotonic() - asked)
            meter.saw(batches)
            for group in engine.optimizer.param_groups:
                group["lr"] = learning_rate(o, step, total)
            torch.manual_seed(int(generator(seed, DROPOUT, step, rank).integers(2**62)))
            values: dict[str, float] = {}
            for batch in batches:
                loss, values = total_loss(engine(batch.to(device)))
                if not math.isfinite(values["loss"]):
                    raise VlpError(f"{run_dir}: the loss is {values} at step {step}; nothing was changed by this step.")
                engine.backward(loss)
                engine.step()
            if journal and ((step + 1) % o.log_every == 0 or step + 1 == total):
                fence.check()
                values |= {"learning_rate": learning_rate(o, step, total), **log.rates(step + 1), **meter.rates()}
                journal.metrics(step + 1, values)
                log.show(step + 1, values)
            if selection and step + 1 in points:
                step_module.eval()
                score = selection.score()
                step_module.train()
                if rank == 0 and journal:
                    journal.metrics(step + 1, {"val_score": score})
                    best.offer(model, step + 1, score)
            flags = torch.tensor([rank == 0 and time.monotonic() - saved > 60 * o.checkpoint_minutes, *stop.flags()])
            flags = flags.to(device, torch.float32)
            if world > 1:
                dist.all_reduce(flags)  # a signal may have reached one rank only, or not all of them in the same step
            due, *stops = flags.tolist()
            stopped = first_of(stops)
            if (due or stopped) and step + 1 < total:
                saved_to = checkpoint.save(engine, folder, step + 1, fingerprint, o.keep_checkpoints, {})
                if journal:
                    journal.write(
                        "checkpoint", step=step + 1, path=saved_to.name, sha256=sha256(saved_to / checkpoint.MANIFEST)
                    )
                saved = time.monotonic()
                if stopped:
                    raise Preempted(run_dir, step + 1, stopped)
    step_module.eval()
    result = {
        "steps": total,
        "seconds": time.monotonic() - began,
        "samples_per_second": log.samples_per_second(total),
        "peak_memory_bytes": peak_memory(),
    }
    if selection:
        dist.barrier()
        result |= best.restore(model)
    return result


def total_loss(losses: dict[str, LossSum]) -> tuple[torch.Tensor, dict[str, float]]:
    """Sum of the losses (eq. 10, 11), each normalised by the global number of its targets.

    DeepSpeed divides the summed gradients by the number of ranks (all ZeRO stages: `gradient_average`, on by default)
    and each backward by the number of accumulation steps. Ranks hold different numbers of targets, so a mean of their
    means would weigh targets unequally: each rank's sum is divided by the global count and multiplied by the number of
    ranks, which the engine's division undoes. What is left is the gradient of the global mean, whatever the number of
    ranks; over accumulation steps it is the mean of their global means.
    """
    world = dist.get_world_size() if dist.is_initialized() else 1
    table = torch.stack([torch.stack([x.total.detach().double(), x.count.double()]) for x in losses.values()])
    if world > 1:
        dist.all_reduce(table)
    counts = table[:, 1].clamp(min=1.0)
    loss = torch.stack([x.total * world / n.to(x.total.dtype) for x, n in zip(losses.values(), counts, strict=True)])
    means = (table[:, 0] / counts).tolist()
    return loss.sum(), {"loss": sum(means), **{f"loss_{k}": v for k, v in zip(losses, means, strict=True)}}


class Best:
    """The weights that scored best on val, kept beside the checkpoints, so that they survive a kill."""

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path, self.fingerprint = path, fingerprint
        self.note = path.with_suffix(".json")

    def clear(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def offer(self, model: nn.Module, step: int, score: float) -> None:
        fence.check()
        if self.note.exists():
            held = read_json(self.note)
            if held["fingerprint"] == self.fingerprint and held["best_score"] >= score and held["best_step"] < step:
                return
        with atomic(self.path) as temporary:
            save_file({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}, temporary)
        note = {"best_step": step, "best_score": score, "fingerprint": self.fingerprint}
        write_json(self.note, note)

    def restore(self, model: nn.Module) -> dict[str, Any]:
        model.load_state_dict(load_file(self.path))
        note = read_json(self.note)
        return {"best_step": note["best_step"], "best_score": note["best_score"]}


class Log:
    """Progress on stdout: step, losses, samples/s and the meter's rates, time left."""

    def __init__(self, total: int, batch_size: int, start: int) -> None:
        self.total, self.batch_size, self.start, self.began = total, batch_size, start, time.monotonic()

    def samples_per_second(self, step: int) -> float:
        return (step - self.start) * self.batch_size / max(1e-9, time.monotonic() - self.began)

    def rates(self, step: int) -> dict[str, float]:
        return {"samples_per_second": self.samples_per_second(step)}

    def show(self, step: int, values: dict[str, float]) -> None:
        rate = self.samples_per_second(step)
        left = (self.total - step) * self.batch_size / max(rate, 1e-9)
        parts = " ".join(f"{k.removeprefix('loss_')} {v:.3f}" for k, v in values.items() if k.startswith("loss"))
        print(
            f"step {step}/{self.total}  {parts}  {rate:.0f} samples/s  {shown(values)}  {left:.0f} s left", flush=True
        )


def _evaluation_points(total: int, times: int) -> set[int]:
    return {max(1, round(total * (i + 1) / times)) for i in range(times)}
