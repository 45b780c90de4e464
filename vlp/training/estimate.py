"""What trainings cost: FLOPs, hours, memory and disk, before anything is run. A method says what a sample costs."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vlp.errors import ConfigError
from vlp.models import flops
from vlp.training.schedule import samples_seen

if TYPE_CHECKING:
    from vlp.config import Experiment
    from vlp.config.training import Plan

TERA, GIGA, HOUR = 1e12, 1e9, 3600.0
UTILISATION = 0.4
"""Share of the peak rate that a training reaches: assumed (docs/estimate.md)."""


@dataclass(frozen=True)
class Gpu:
    """Peak rate of dense matrix products, FLOP/s, and memory, bytes (docs/estimate.md has the sources)."""

    half: float
    """bf16 or fp16 with tensor cores."""
    single: float
    """float32 without TF32."""
    memory: float


GPUS = {
    "H200": Gpu(989.5 * TERA, 67 * TERA, 141 * GIGA),
    "H100": Gpu(989.5 * TERA, 67 * TERA, 80 * GIGA),
    "A100": Gpu(312 * TERA, 19.5 * TERA, 80 * GIGA),
    "L40S": Gpu(362 * TERA, 91.6 * TERA, 48 * GIGA),
    "V100": Gpu(125 * TERA, 15.7 * TERA, 32 * GIGA),
}


@dataclass(frozen=True)
class Machines:
    count: int
    name: str
    gpu: Gpu

    @classmethod
    def parse(cls, text: str) -> Machines:
        """`8xH200` or `H200`.

        Raises:
            ConfigError: another form, or a GPU without known rates.
        """
        found = re.fullmatch(r"(?:([1-9]\d*)x)?(\w+)", text)
        if found is None or found[2].upper() not in GPUS:
            raise ConfigError(f"--gpus {text}: write COUNTxNAME, for example 8xH200; NAME is one of {', '.join(GPUS)}")
        name = found[2].upper()
        return cls(int(found[1] or 1), name, GPUS[name])

    def rate(self, precision: str) -> float:
        """Peak of all together, FLOP/s."""
        return self.count * (self.gpu.single if precision == "fp32" else self.gpu.half)


@dataclass(frozen=True)
class Cost:
    """Of one training. Hours are at the assumed share of the peak rate."""

    name: str
    samples: float | None
    """None: the number of samples is not known; FLOPs are of one sample, hours of none."""
    batch: int
    padded: float
    """FLOPs where every sequence has its full length."""
    useful: float
    hours_padded: float | None
    hours_useful: float | None
    memory: float
    """Bytes of each GPU."""
    shares: dict[str, float]
    """Part of the useful FLOPs."""

    @property
    def steps(self) -> int | None:
        return None if self.samples is None else round(self.samples / self.batch)


@dataclass(frozen=True)
class Bill:
    """Of an experiment."""

    costs: list[Cost]
    """Of each stage of pre-training and of each task's fine-tuning (one variant of it)."""
    disk: dict[str, float | None]
    """Bytes of the large files, by kind; None: not known."""
    assumed: str
    """What the numbers rest on, for a person to read."""


def trainings(e: Experiment, name: str) -> int:
    """How often a stage or a task is trained: a task once for each variant and seed."""
    settings = getattr(e.tasks, name, None)
    return 1 if settings is None else settings.trainings


def cost(
    name: str,
    o: Plan,
    forward: Sequence[Mapping[str, float]],
    leading: Collection[str],
    machines: Machines,
    rows: int | None,
    held: float,
) -> Cost:
    """Of one training.

    Args:
        forward: forward FLOPs of one sample by part: padded, then useful.
        leading: the parts that pass no gradient on.
        rows: of the train split; None: not known.
        held: bytes of each GPU.
    """
    padded, useful = (flops.training(f, leading) for f in forward)
    known = o.epoch_size or rows
    samples = None if known is None else samples_seen(o, known)
    times = 1.0 if samples is None else samples
    rate = machines.rate(o.precision) * UTILISATION
    totals = [sum(x.values()) * times for x in (padded, useful)]
    hours = [None if samples is None else t / rate / HOUR for t in totals]
    together = sum(useful.values())
    shares = {part: x / together for part, x in useful.items()}
    return Cost(name, samples, o.batch_size, totals[0], totals[1], hours[0], hours[1], held, shares)


def state_bytes(parameters: int, trained: int, o: Plan, ranks: int) -> float:
    """Weights, gradients and AdamW's state of one GPU, with ZeRO's shares.

    Half precision: 2 bytes a weight and a gradient, 12 for the float32 copy and both moments; float32: 4, 4 and 8.
    """
    weight, gradient, state = (4, 4, 8) if o.precision == "fp32" else (2, 2, 12)
    of = [ranks if o.zero_stage >= stage else 1 for stage in (3, 2, 1)]
    return parameters * weight / of[0] + trained * (gradient / of[1] + state / of[2])


def kept(e: Experiment, o: Plan, parameters: int, stages: int) -> dict[str, float | None]:
    """Bytes of the largest checkpoints, which are those of a training with `o`, and of all models.

    Args:
        stages: of pre-training.
    """
    per = 12 if o.precision == "fp32" else 14
    models = stages + sum(task.trainings for task in e.tasks_set.values())
    return {"checkpoints": float(o.keep_checkpoints + 1) * parameters * per, "models": models * parameters * 4.0}
