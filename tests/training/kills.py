"""Trainings that are killed at random moments, from a process that has the imports behind it, and what came of them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, NamedTuple

# What the fork server has imported before a training is asked for.
import deepspeed  # noqa: F401
import torch
from deepspeed.checkpoint import ds_to_universal  # noqa: F401
from deepspeed.runtime.zero.muon import muon_optimizer  # noqa: F401 - with torch's compiler, 3 s of a rank's start

from tests.training.tiny_run import experiment, paths, weights
from vlp.files import read_json
from vlp.launch.group import init_process_group, leave_process_group
from vlp.runs import pretrain
from vlp.tracking.journal import read
from vlp.training.checkpoint import MANIFEST, newest

STEPS = 12
SETTINGS: dict[str, Any] = {"epochs": STEPS * 8 / 40, "checkpoint_steps": 1, "keep_checkpoints": 2}
"""40 captions in batches of 8. A checkpoint after every step: about half of a run's time is spent in saving."""
PATIENCE = 600.0
"""Seconds; a busy machine is not a hung training."""


class Cell(NamedTuple):
    ranks: int
    accumulation: int
    precision: str


CELLS = [Cell(r, a, p) for r in (1, 2) for a in (1, 2) for p in ("bf16", "fp32")]


Target = Callable[[Path, Path, dict[str, Any]], object]
"""What a rank does, with the folder, the inputs and the settings of the optimisation."""


def stage_2(folder: Path, inputs: Path, settings: dict[str, Any]) -> None:
    pretrain.pretrain(experiment(**settings), "stage2", paths(inputs), None, folder / "model", folder / "run")


@contextlib.contextmanager
def as_rank(rank: int, ranks: int, rendezvous: Path) -> Iterator[None]:
    """A process group around this process, as the launcher makes it."""
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(ranks))
    init_process_group(rendezvous)
    try:
        yield
    finally:
        leave_process_group()


def work(
    target: Target, rank: int, ranks: int, folder: Path, inputs: Path, rendezvous: Path, settings: dict[str, Any]
) -> None:
    """One rank, in a forked process."""
    log = os.open(folder / f"rank-{rank}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    torch.set_num_threads(1)
    with as_rank(rank, ranks, rendezvous):
        target(folder, inputs, settings)


class Trainings:
    """Starts trainings on `inputs`."""

    def __init__(self, inputs: Path) -> None:
        self.inputs = inputs
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__])

    @contextlib.contextmanager
    def started(
        self, folder: Path, ranks: int, target: Target = stage_2, **settings: Any
    ) -> Iterator[list[ForkServerProcess]]:
        """The ranks of a training in `folder`; on leaving, none of them is left."""
        folder.mkdir(parents=True, exist_ok=True)
        rendezvous = folder / f"rendezvous-{time.monotonic_ns()}"
        arguments = (ranks, folder, self.inputs, rendezvous, SETTINGS | settings)
        processes = [self._context.Process(target=work, args=(target, r, *arguments)) for r in range(ranks)]
        for p in processes:
            p.start()
        try:
            yield processes
        finally:
            for p in processes:
                p.kill()
                p.join()

    def finish(
        self, folder: Path, ranks: int, target: Target = stage_2, patience: float = PATIENCE, **settings: Any
    ) -> None:
        """Train to the end, which has to come within `patience` seconds."""
        with self.started(folder, ranks, target, **settings) as processes:
            end = time.monotonic() + patience
            for p in processes:
                p.join(max(0.0, end - time.monotonic()))
            codes = [p.exitcode for p in processes]
        assert codes == [0] * ranks, (codes, (folder / "rank-0.log").read_text()[-3000:])


def losses(folder: Path) -> list[tuple[int, float]]:
    """(step, loss) in the order they were written; what a killed training did twice stands twice."""
    return [(e["step"], float(e["value"])) for e in steps_done(folder)]


def steps_done(folder: Path) -> list[dict[str, Any]]:
    journal = folder / "run" / "journal.jsonl"
    events = read(journal) if journal.exists() else []
    return [e for e in events if e["event"] == "metric" and e["key"] == "loss"]


def seconds_of_steps(folder: Path) -> float:
    """From the end of the first step to that of the last."""
    done = steps_done(folder)
    return done[-1]["time"] - done[0]["time"]


@dataclass
class Report:
    kills: int = 0
    hit: Counter[str] = field(default_factory=Counter)
    """What the killed process was at."""
    resumed: int = 0
    """Resumes that loaded a checkpoint; the others had none to load yet."""


def kill_and_compare(trainings: Trainings, folder: Path, reference: Path, cell: Cell, kills: int, seed: int) -> Report:
    """Kill `kills` times, let it end, compare; if it ends before it is killed, another one begins.

    Args:
        reference: the same training, undisturbed.

    Raises:
        AssertionError: a resume did not load the newest whole checkpoint; losses or weights differ in a bit.
    """
    rng, report = random.Random(f"{seed} {cell}"), Report()
    settings = {"accumulation": cell.accumulation, "precision": cell.precision}
    expected, span = dict(losses(reference)), seconds_of_steps(reference)
    while report.kills < kills:
        at = newest_step(folder)
        if at == STEPS:  # killed after its last save: no step is left to be killed in
            trainings.finish(folder, cell.ranks, **settings)
            report.resumed += 1
            check(folder, expected, reference)
            shutil.rmtree(folder)
            continue
        with trainings.started(folder, cell.ranks, **settings) as processes:
            first_step_is(at + 1, folder, processes)
            time.sleep(rng.uniform(0, span * (STEPS - at) / STEPS))
            alive = all(p.is_alive() for p in processes)
            victim = rng.randrange(cell.ranks)
            processes[victim].kill()
            processes[victim].join()
            if rng.random() < 0.5:  # else all at once, as when the machine goes
                for p in processes:
                    p.join(PATIENCE)
        if alive:
            report.kills += 1
            report.resumed += at > 0
            report.hit["a save" if any((folder / "run" / "checkpoints").glob(".step-*")) else "a step"] += 1
        else:
            check(folder, expected, reference)
            shutil.rmtree(folder)
    at = newest_step(folder)
    trainings.finish(folder, cell.ranks, **settings)
    report.resumed += at > 0
    check(folder, expected, reference)
    return report


def newest_step(folder: Path) -> int:
    """Step of the newest checkpoint, which has to be whole; 0: there is none, and a resume begins anew."""
    present = sorted((folder / "run" / "checkpoints").glob("step-*"))
    if not present:
        (folder / "run" / "journal.jsonl").unlink(missing_ok=True)
        return 0
    found = newest(present[-1].parent, read_json(present[-1] / MANIFEST)["fingerprint"])
    assert found is not None and found.path == present[-1], f"{present[-1]} is not whole"
    return int(found.manifest["step"])


def first_step_is(step: int, folder: Path, processes: list[ForkServerProcess]) -> None:
    """Wait for the first step of a resumed training: it follows the newest checkpoint."""
    before, end = len(losses(folder)), time.monotonic() + PATIENCE
    while len(losses(folder)) == before and time.monotonic() < end and processes[0].is_alive():
        time.sleep(0.005)
    seen = losses(folder)
    assert len(seen) > before, (folder / "rank-0.log").read_text()[-3000:]
    assert seen[before][0] == step, f"it went on with step {seen[before][0]}, not {step}"


def check(folder: Path, expected: dict[int, float], reference: Path) -> None:
    found = losses(folder)
    differing = {step: (value, expected[step]) for step, value in found if value != expected[step]}
    assert not differing, differing
    assert {step for step, _ in found} == set(range(1, STEPS + 1)) == set(expected)
    assert weights(folder).read_bytes() == weights(reference).read_bytes()
