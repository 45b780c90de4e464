"""The one training loop: both stages and every task."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from vlp.batching.batch import Batch
from vlp.batching.draw import Draw
from vlp.batching.loader import ahead, early, workers
from vlp.batching.order import DROPOUT, Layout, generator, grouped_indices
from vlp.config.training import Contrast, Plan
from vlp.errors import Preempted
from vlp.files import sha256
from vlp.finite import demand
from vlp.launch import fence
from vlp.objectives import LossSum
from vlp.tracking.journal import Journal
from vlp.training import counts, universal
from vlp.training.base import Source, Telling, beyond_of
from vlp.training.best import Best, Selection
from vlp.training.checkpoint import MANIFEST, TAG, Checkpoints, Found, beyond
from vlp.training.checks import check
from vlp.training.contrast import Cached, Contrasting, cache
from vlp.training.counts import total_loss
from vlp.training.engine import gather, initialise, load
from vlp.training.guards import NotFinite, Spikes, out_of_memory
from vlp.training.memory import keep_freed
from vlp.training.meter import Meter, line, peak_memory, peak_rate
from vlp.training.probe import Probe
from vlp.training.schedule import groups, learning_rate, steps
from vlp.training.signals import StopRequest, first_of
from vlp.training.watchdog import Watchdog

__all__ = ["Selection", "total_loss", "train"]


def train(
    step_module: nn.Module,
    model: nn.Module,
    source: Source,
    o: Plan,
    run_dir: Path,
    seed: int,
    fingerprint: str,
    selection: Selection | None = None,
    probe: Probe | None = None,
) -> dict[str, Any]:
    """Train `model` through `step_module` (batch -> named `LossSum`s); resumes from the newest good checkpoint.

    On return `model` holds the last weights, or with `selection` those that scored best on val.

    Args:
        fingerprint: digest of all that the result depends on; checkpoints of another one are not used.
        probe: what it measures goes to the journal; the training is the same without it.

    Returns:
        steps, processes, gpus, seconds, samples_per_second, data_wait, peak_memory_bytes, checkpoint_seconds,
        skipped_steps; with `selection` also best_step and best_score; with `probe` also probe_seconds.

    Raises:
        Preempted: SIGUSR2 or SIGTERM reached a rank; all of them have saved.
        VlpError: too many steps not finite, too many spikes, too little memory, a batch that can not be shared.
    """
    training = Training(step_module, model, source, o, run_dir, seed, fingerprint, selection, probe)
    try:
        return training.run()
    except (RuntimeError, MemoryError) as error:
        remedy = out_of_memory(error, training.layout.micro, o.accumulation, o.zero_stage)
        if remedy is None:
            raise
        raise remedy from error


@dataclass(frozen=True)
class Work:
    """What a rank does in one step."""

    number: int
    """Of the global batch: the step, and more once a spike's batches were left out."""
    parts: list[int]
    ids: list[list[str]]
    batches: list[Batch]
    counts: dict[str, int]

    def pin_memory(self) -> Work:
        """In page-locked memory; the loader asks for it where there is a GPU."""
        return replace(self, batches=[b.pin_memory() for b in self.batches])


class Agreed(NamedTuple):
    """What all ranks know at the end of a step."""

    losses: dict[str, float]
    due: bool
    """A checkpoint is."""
    stopped: int


class Training:
    def __init__(
        self,
        step_module: nn.Module,
        model: nn.Module,
        source: Source,
        o: Plan,
        run_dir: Path,
        seed: int,
        fingerprint: str,
        selection: Selection | None,
        probe: Probe | None,
    ) -> None:
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.whole, self.model, self.source, self.o = step_module, model, source, o
        # ZeRO 3 takes the weights of what it trains away: `whole`, with `model` in it, gets them when it is asked for.
        self.module = copy.deepcopy(step_module) if o.zero_stage == 3 else step_module
        self.run_dir, self.seed, self.selection, self.probe = run_dir, seed, selection, probe
        self.layout = Layout(o.batch_size, self.world, o.accumulation)
        check(self.layout, o, step_module, len(source.lengths))
        self.beyond = beyond_of(step_module)
        self.cached = isinstance(o, Contrast) and o.embedding_cache
        self.factors = [group.rate for group in groups(self.module)]
        self.lengths = source.lengths
        self.total = steps(o, len(self.lengths))
        self.best = Best(run_dir / "best.safetensors", fingerprint)
        self.checkpoints = Checkpoints(
            run_dir / "checkpoints", fingerprint, o.keep_checkpoints, o.keep_every, self._journal_checkpoint
        )
        found = self.checkpoints.find()
        self.step = self.shift = 0
        if found is not None:
            self.step, self.shift = int(found.manifest["step"]), int(found.manifest["state"]["shift"])
        # The first batch is made while the engine is. Not beside a GPU: processes that are forked make it there.
        self.first = None if torch.cuda.is_available() else early(self._load, self.step + self.shift)
        self.engine = initialise(self.module, o, found is not None and not self._same_ranks(found))
        self.device = self.engine.device
        if self.beyond:
            self.beyond.to(self.device, next(self.module.parameters()).dtype)
        if self.device.type == "cpu":
            keep_freed()
        if self.rank == 0:
            self.checkpoints.tidy()
            if found is None:
                self.checkpoints.clear()
                (run_dir / "journal.jsonl").unlink(missing_ok=True)
                self.best.clear()
        dist.barrier()
        if found is not None:
            self._restore(found)
        self.journal = Journal(run_dir / "journal.jsonl", resume=True) if self.rank == 0 else None
        self.stop = StopRequest()
        self.watch = Watchdog(run_dir / "watchdog", self.rank, self.world, 60 * o.hang_minutes)
        self.not_finite = NotFinite(run_dir / "not-finite", o.skip_limit, self.rank)
        self.spikes = Spikes(o.spike_factor)
        self.meter = Meter(step_module, self.world, o.batch_size, peak_rate(self.device, o.precision))
        self.began = self.saved = time.monotonic()

    # -- the loop -----------------------------------------------------------------------------------------------
    def run(self) -> dict[str, Any]:
        points = self.selection.points(self.total) if self.selection else set()
        self.module.train()
        self.whole.train()
        with self.stop, self.watch:
            if self.step == 0:
                self._look()
            while self.step < self.total:
                self._run_until_spike(points)
        self._gather()
        self.whole.eval()
        self.checkpoints.close()
        result = {
            "steps": self.total,
            "processes": self.world,
            "gpus": self.world if self.device.type == "cuda" else 0,
            "seconds": time.monotonic() - self.began,
            **self.meter.whole(),
            "peak_memory_bytes": peak_memory(),
            "checkpoint_seconds": self.checkpoints.seconds,
            "skipped_steps": self.not_finite.total,
        }
        if self.probe:
            result["probe_seconds"] = self.probe.seconds
        return result | (self.best.restore(self.model) if self.selection else {})

    def _run_until_spike(self, points: set[int]) -> None:
        """To the end; or to a spike, after which the batches that were made ahead are not those that come next."""
        first, end = self.step + self.shift, self.total + self.shift
        processes, pin = workers(self.device), self.device.type == "cuda"
        made, self.first = self.first, None
        with ahead(self._load, first, end, processes, pin, made) as loader:
            for number in range(first, end):
                agreed = self._step(self._wait(loader))
                if self.spikes.seen(agreed.losses["loss"]) and self._roll_back(number, agreed.losses["loss"]):
                    return
                self.step += 1
                self._log(agreed.losses)
                self._look()
                if self.step in points:
                    with self.watch.paused():
                        self._score()
                self._save(agreed)

    def _load(self, number: int) -> Work:
        indices = grouped_indices(self.lengths, self.o.batch_size, self.seed, number)
        parts, batches, ids = self.layout.own(self.rank), [], []
        for part in parts:
            places = self.layout.places(part)
            draw = Draw(self.seed, number, places, self.o.batch_size, part, self.total)
            batches.append(self.source.batch(indices[places], draw))
            ids.append(self.source.ids(indices[places]))
        return Work(number, parts, ids, batches, counts.own(self.module, batches))  # type: ignore[arg-type]

    def _wait(self, loader: Iterator[Work]) -> Work:
        self.watch.at(self.step, "waiting for data")
        asked = time.monotonic()
        work = next(loader)
        self.meter.waited(time.monotonic() - asked)
        self.meter.saw(work.batches)
        return work

    # -- one step -----------------------------------------------------------------------------------------------
    def _step(self, work: Work) -> Agreed:
        """One optimiser step, unless a loss or a gradient is not finite.

        Ranks exchange two small tables: the targets' counts before the first forward pass, which no host waits for,
        and with the losses all that they have to agree on before the optimiser's step.
        """
        rate = learning_rate(self.o, self.step, self.total)
        for group, factor in zip(self.engine.optimizer.param_groups, self.factors, strict=True):
            group["lr"] = rate * factor
        self.watch.at(self.step, "counting targets")
        targets = counts.over_ranks(work.counts, self.device)
        self.watch.at(self.step, "forward and backward")
        batches = [b.to(self.device) for b in work.batches] if self.cached else work.batches
        cached = self._cached(work, batches)
        totals: dict[str, Tensor] = {}
        agreed = None
        for n, (part, batch) in enumerate(zip(work.parts, batches, strict=True), start=1):
            self._seed_dropout(work.number, part)
            losses: dict[str, LossSum] = self.engine(batch.to(self.device), *cached[n - 1 : n])
            self.engine.backward(counts.normalised(losses, targets, self.layout.parts))
            for name, loss in losses.items():
                total = loss.total.detach().double()
                totals[name] = totals[name] + total if name in totals else total
            if n == len(batches):
                self.watch.at(self.step, "agreeing on the step")
                agreed = self._agree(totals, targets)
                self.watch.at(self.step, "the optimiser's step")
            self.engine.step()
        if self.beyond:
            self.beyond.advance(self.module, self.engine.was_step_applied())
        assert agreed is not None
        self._check_applied(agreed.losses, work)
        return agreed

    def _seed_dropout(self, number: int, part: int) -> None:
        torch.manual_seed(int(generator(self.seed, DROPOUT, number, part).integers(2**62)))

    def _cached(self, work: Work, batches: Sequence[Batch]) -> list[Cached]:
        if not self.cached:
            return []
        self._gather()
        assert isinstance(self.whole, Contrasting)
        seed = lambda part: self._seed_dropout(work.number, part)  # noqa: E731
        return cache(self.whole, batches, self.layout, self.rank, seed)

    def _agree(self, totals: dict[str, Tensor], targets: dict[str, Tensor]) -> Agreed:
        """The step's planned wait for the device: losses, and what any rank wants."""
        late = self.rank == 0 and time.monotonic() - self.saved > 60 * self.o.checkpoint_minutes
        flags = counts.on_device([float(late), *self.stop.flags()], self.device)
        table = torch.cat([torch.stack(list(totals.values())), flags])
        if self.world > 1:
            dist.all_reduce(table)
        divisors = torch.stack([targets[name] for name in totals]).clamp(min=1.0)
        both = torch.cat([table[: len(totals)] / divisors, table[len(totals) :]]).tolist()
        means, (due, *stops) = both[: len(totals)], both[len(totals) :]
        losses = {"loss": sum(means), **{f"loss_{k}": v for k, v in zip(totals, means, strict=True)}}
        return Agreed(losses, bool(due), first_of(stops))

    def _check_applied(self, losses: dict[str, float], work: Work) -> None:
        if self.engine.was_step_applied():
            self.not_finite.applied()
        elif self.o.precision != "fp16" or not np.isfinite(losses["loss"]):
            self.not_finite.skipped(self.step, losses, work.ids, work.batches)
            if self.journal:
                self.journal.metrics(self.step + 1, {"skipped_steps": self.not_finite.total})
        # With fp16 a gradient that is too large is what makes the loss scale fall.

    # -- between steps ------------------------------------------------------------------------------------------
    def _log(self, losses: dict[str, float]) -> None:
        if self.journal and (self.step % self.o.log_every == 0 or self.step == self.total):
            fence.check()
            values = losses | {"learning_rate": learning_rate(self.o, self.step - 1, self.total)}
            values |= self.meter.rates()
            if isinstance(self.module, Telling):
                values |= self.module.logged(self.o.batch_size // (1 if self.cached else self.o.accumulation))
            self.journal.metrics(self.step, values)
            rate = self.meter.whole()["samples_per_second"]
            print(line(self.step, self.total, values, rate, self.o.batch_size), flush=True)

    def _gather(self) -> None:
        """The weights of now are in `whole`."""
        if self.o.zero_stage == 3:
            gather(self.engine, self.whole)

    def _look(self) -> None:
        """Every rank measures, for parts of the weights may be with others."""
        if self.probe is not None and self.probe.due(self.step, self.total):
            with self.watch.paused():
                self._gather()
                self.probe.look(self.whole, self.step, self.journal)

    def _score(self) -> None:
        assert self.selection is not None
        self._gather()
        self.whole.eval()
        score = self.selection.score()
        self.whole.train()
        demand(score, self.run_dir, f"the score on val after step {self.step}", "Nothing can be chosen by it.")
        if self.journal:
            self.journal.metrics(self.step, {"val_score": score})
            self.best.offer(self.model, self.step, score)

    def _save(self, agreed: Agreed) -> None:
        planned = any(n is not None and self.step % n == 0 for n in (self.o.checkpoint_steps, self.o.keep_every))
        if self.step >= self.total or not (planned or agreed.due or agreed.stopped):
            return
        self.watch.at(self.step, "saving")
        state = {"shift": self.shift, "accumulation": self.o.accumulation, "zero_stage": self.o.zero_stage}
        self.checkpoints.save(self.engine, self.step, state, self.beyond.state() if self.beyond else None)
        self.saved = time.monotonic()
        if agreed.stopped:
            self.checkpoints.close()
            raise Preempted(self.run_dir, self.step, agreed.stopped)

    def _journal_checkpoint(self, path: Path, step: int) -> None:
        if self.journal:
            self.journal.write("checkpoint", step=step, path=path.name, sha256=sha256(path / MANIFEST))

    def _roll_back(self, number: int, loss: float) -> bool:
        """To the newest checkpoint, and on from the batch after the spike's; False: there is none yet."""
        self.checkpoints.close()
        found = self.checkpoints.find()
        if found is None:
            return False
        self.spikes.rolled_back(self.step, loss, int(found.manifest["step"]))
        with self.watch.paused():
            self._restore(found)
        self.shift = number + 1 - self.step
        return True

    def _same_ranks(self, found: Found) -> bool:
        return found.manifest["world_size"] == self.world

    def _restore(self, found: Found) -> None:
        path = found.path
        if not self._same_ranks(found):
            if self.rank == 0:
                print(f"{path}: saved by {found.manifest['world_size']} ranks, read by {self.world}", flush=True)
                universal.convert(path, TAG)
            dist.barrier()
            path = path.parent / universal.FOLDER
        load(self.engine, path, TAG)
        if self.beyond:
            self.beyond.restore(beyond(found))
        self.step, self.shift = int(found.manifest["step"]), int(found.manifest["state"]["shift"])
        dist.barrier()
        if self.rank == 0:
            self.checkpoints.tidy()
